#include "server/rpc/call.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/jobs/status_details.h"
#include "common/rpc/status.h"
#include "common/telemetry/log.h"

namespace graft {
namespace {

constexpr int kUrgentThreads = 2;

// Our own failures and lost data are for the operator; a caller's mistakes are his.
LogLevel LevelOf(const CallInfo& call, const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kDataLoss:
      return LogLevel::kError;
    case absl::StatusCode::kOk:
    case absl::StatusCode::kCancelled: {
      const absl::string_view verb = call.verb;
      const bool reads = absl::EndsWith(verb, ".get") || absl::EndsWith(verb, ".list") ||
                         absl::EndsWith(verb, ".watch") || absl::StartsWith(verb, "worker.");
      return reads ? LogLevel::kDebug : LogLevel::kInfo;
    }
    default:
      return LogLevel::kInfo;
  }
}

}  // namespace

RpcRuntime::RpcRuntime(MetricRegistry& registry, const RpcRuntimeOptions& options)
    : options_(options),
      calls_(registry.AddCounter("graft_rpc_calls_total", "RPCs that ended, by method and code.",
                                 {"method", "code"})),
      latency_(registry.AddHistogram("graft_rpc_seconds", "Time of unary RPCs, queueing included.",
                                     {"method"}, LatencyBuckets())),
      streams_(registry.AddGauge("graft_rpc_streams", "Open streams by method.", {"method"})),
      stream_bytes_(registry.AddCounter("graft_rpc_stream_bytes_total",
                                        "Bytes of messages on streams, by method and direction.",
                                        {"method", "direction"})),
      executor_("rpc", options.threads, options.max_queued_calls),
      urgent_executor_("rpc-urgent", kUrgentThreads, options.max_queued_calls) {}

absl::Status RpcRuntime::Authorize(const Caller& caller, absl::string_view verb,
                                   absl::string_view resource) const {
  if (caller.owner != "default") {
    return absl::PermissionDeniedError(
        absl::StrCat(caller.owner, " may not ", verb, " ", resource));
  }
  return absl::OkStatus();
}

Caller RpcRuntime::CallerOf(const grpc::CallbackServerContext& context) {
  Caller caller;
  caller.peer = context.peer();
  return caller;
}

grpc::ServerUnaryReactor* RpcRuntime::Unary(grpc::CallbackServerContext* context,
                                            const CallInfo& call,
                                            std::function<absl::Status(const Caller&)> body) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const Caller caller = CallerOf(*context);
  const absl::Duration start = Clock::Real().Boottime();
  Executor& executor = call.urgent ? urgent_executor_ : executor_;
  const bool admitted = executor.TrySchedule([=, this, body = std::move(body)] {
    // Nobody waits for the answer of a call that was given up while it queued.
    absl::Status status = context->IsCancelled() ? absl::CancelledError("the caller has gone")
                                                 : Authorize(caller, call.verb, call.resource);
    if (status.ok()) status = body(caller);
    Record(call, caller, status, Clock::Real().Boottime() - start);
    reactor->Finish(ToGrpcStatus(status));
  });
  if (!admitted) {
    const absl::Status status =
        Overloaded("the server is overloaded: too many calls wait", absl::Seconds(1));
    Record(call, caller, status, Clock::Real().Boottime() - start);
    reactor->Finish(ToGrpcStatus(status));
  }
  return reactor;
}

absl::Status RpcRuntime::BeginStream(const CallInfo& call, const Caller& caller,
                                     const std::shared_ptr<StreamWaker>& waker) {
  RETURN_IF_ERROR(Authorize(caller, call.verb, call.resource));
  {
    MutexLock lock(mutex_);
    if (draining_) return absl::UnavailableError("the server is going away");
    if (open_streams_.size() >= options_.max_streams) {
      return Overloaded("too many streams are open", absl::Seconds(5));
    }
    open_streams_.insert(waker);
  }
  streams_.Add({call.method}, 1);
  return absl::OkStatus();
}

void RpcRuntime::EndStream(const CallInfo& call, const Caller& caller, const absl::Status& status,
                           absl::Duration start, const std::shared_ptr<StreamWaker>& waker) {
  bool was_open = false;
  {
    MutexLock lock(mutex_);
    was_open = open_streams_.erase(waker) > 0;
  }
  if (was_open) streams_.Add({call.method}, -1);
  calls_.Add({call.method, absl::StatusCodeToString(status.code())});
  const std::string code = absl::StatusCodeToString(status.code());
  LogJob(LevelOf(call, status), absl::StartsWith(call.resource, "jobs/") ? call.resource : "",
         call.method,
         {{"code", code},
          {"peer", caller.peer},
          {"resource", call.resource},
          {"seconds", absl::StrCat(absl::ToDoubleSeconds(Clock::Real().Boottime() - start))},
          {"error", std::string(status.message())}});
}

void RpcRuntime::Record(const CallInfo& call, const Caller& caller, const absl::Status& status,
                        absl::Duration duration) {
  const std::string code = absl::StatusCodeToString(status.code());
  calls_.Add({call.method, code});
  latency_.Observe({call.method}, absl::ToDoubleSeconds(duration));
  LogJob(LevelOf(call, status), absl::StartsWith(call.resource, "jobs/") ? call.resource : "",
         call.method,
         {{"code", code},
          {"peer", caller.peer},
          {"resource", call.resource},
          {"seconds", absl::StrCat(absl::ToDoubleSeconds(duration))},
          {"error", std::string(status.message())}});
}

void RpcRuntime::CountStreamBytes(const CallInfo& call, bool sent, size_t bytes) {
  stream_bytes_.Add({call.method, sent ? "sent" : "received"}, static_cast<double>(bytes));
}

void RpcRuntime::Drain() {
  std::set<std::shared_ptr<StreamWaker>> streams;
  {
    MutexLock lock(mutex_);
    draining_ = true;
    streams = open_streams_;
  }
  for (const auto& waker : streams) waker->Wake();
}

bool RpcRuntime::draining() const {
  MutexLock lock(mutex_);
  return draining_;
}

}  // namespace graft
