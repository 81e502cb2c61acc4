#include "server/rpc/call.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/rpc/status.h"
#include "common/telemetry/log.h"

namespace graft {
namespace {

// What gRPC calls the peer of its in-process channel, which only the gateway has: nobody else's
// kHttpPeerKey counts.
constexpr char kInProcessPeer[] = "unknown";

// An upload's end by idleness comes at most a tenth of the limit late.
constexpr int kLooksAtAnUpload = 10;

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
    case absl::StatusCode::kResourceExhausted:
      // A crowd that is refused comes again at once, and is counted; it must not fill the log.
      return ReasonOf(status) == kReasonQueueFull ? LogLevel::kDebug : LogLevel::kInfo;
    default:
      return LogLevel::kInfo;
  }
}

}  // namespace

CallMetrics::CallMetrics(MetricRegistry& registry)
    : calls(registry.AddCounter("graft_rpc_calls_total", "RPCs that ended, by method and code.",
                                {"method", "code"})),
      latency(registry.AddHistogram("graft_rpc_seconds", "Time of unary RPCs, queueing included.",
                                    {"method"}, LatencyBuckets())),
      streams(registry.AddGauge("graft_rpc_streams", "Open streams by method.", {"method"})),
      stream_bytes(registry.AddCounter("graft_rpc_stream_bytes_total",
                                       "Bytes of messages on streams, by method and direction.",
                                       {"method", "direction"})) {}

RpcRuntime::RpcRuntime(CallMetrics& metrics, Clock& clock, const RpcRuntimeOptions& options)
    : options_(options),
      metrics_(metrics),
      clock_(clock),
      admission_(options.limits),
      idle_ticker_(options.name + "-idle", clock, options.limits.upload_idle / kLooksAtAnUpload) {
  const auto make = [&](Lane lane, const char* suffix, int threads) {
    executors_[static_cast<size_t>(lane)] =
        std::make_unique<Executor>(options.name + suffix, threads, options.max_queued_calls);
  };
  make(Lane::kShort, "", options.threads);
  make(Lane::kUrgent, "-urg", kUrgentThreads);
  make(Lane::kBulk, "-bulk", kBulkThreads);
  make(Lane::kLong, "-long", kLongThreads);
  make(Lane::kCheck, "-chk", kCheckThreads);
  make(Lane::kPlan, "-plan", kPlanThreads);
}

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
  const auto http_peer = context.client_metadata().find(kHttpPeerKey);
  if (caller.peer == kInProcessPeer && http_peer != context.client_metadata().end()) {
    caller.peer = absl::StrCat(
        "http:", absl::string_view(http_peer->second.data(), http_peer->second.size()));
  }
  caller.gone = [&context] { return context.IsCancelled(); };
  return caller;
}

struct RpcRuntime::UnaryCall {
  const CallInfo info;
  const Caller caller;
  const absl::Duration start;  // Boottime.
  const int64_t bytes;         // Taken from the admission.
  const Lane long_lane;
  const QuickOrLong body;
  grpc::ServerUnaryReactor* const reactor;
};

grpc::ServerUnaryReactor* RpcRuntime::Unary(grpc::CallbackServerContext* context,
                                            const google::protobuf::Message& request,
                                            const CallInfo& call,
                                            std::function<absl::Status(const Caller&)> body) {
  return Unary(context, request, call, call.lane,
               [body = std::move(body)](const Caller& caller, Lane) { return body(caller); });
}

grpc::ServerUnaryReactor* RpcRuntime::Unary(grpc::CallbackServerContext* context,
                                            const google::protobuf::Message& request,
                                            const CallInfo& call, Lane long_lane,
                                            QuickOrLong body) {
  const auto bytes = static_cast<int64_t>(request.ByteSizeLong());
  auto unary =
      std::make_shared<UnaryCall>(UnaryCall{call, CallerOf(*context), clock_.Boottime(), bytes,
                                            long_lane, std::move(body), context->DefaultReactor()});
  if (const absl::Status admitted = admission_.TakeBytes(bytes); admitted.ok()) {
    Run(unary, call.lane);
  } else {
    Record(call, unary->caller, admitted, clock_.Boottime() - unary->start);
    unary->reactor->Finish(ToGrpcStatus(admitted));
  }
  return unary->reactor;
}

void RpcRuntime::Run(const std::shared_ptr<UnaryCall>& unary, Lane lane) {
  const bool accepted = executor(lane).TrySchedule([this, unary, lane] {
    // Nobody waits for the answer of a call that was given up while it queued.
    if (unary->caller.gone()) return Finish(*unary, absl::CancelledError("the caller has gone"));
    const CallInfo& info = unary->info;
    const absl::Status allowed = Authorize(unary->caller, info.verb, info.resource);
    if (!allowed.ok()) return Finish(*unary, allowed);
    const std::optional<absl::Status> status = unary->body(unary->caller, lane);
    status.has_value() ? Finish(*unary, *status) : Run(unary, unary->long_lane);
  });
  if (accepted) return;
  Finish(*unary, Overloaded(absl::StrCat("too many calls: ", options_.max_queued_calls, " of the ",
                                         options_.name, " wait for a thread, the most that may"),
                            absl::Seconds(1)));
}

void RpcRuntime::Finish(UnaryCall& unary, const absl::Status& status) {
  Record(unary.info, unary.caller, status, clock_.Boottime() - unary.start);
  admission_.ReturnBytes(unary.bytes);
  Failpoint("rpc", unary.info.method, "before_answer");
  unary.reactor->Finish(ToGrpcStatus(status));
}

absl::Status RpcRuntime::BeginStream(const CallInfo& call, const Caller& caller,
                                     const std::shared_ptr<StreamWaker>& waker) {
  RETURN_IF_ERROR(Authorize(caller, call.verb, call.resource));
  {
    MutexLock lock(mutex_);
    if (draining_) return absl::UnavailableError("the server is going away");
    RETURN_IF_ERROR(admission_.BeginStream(caller.peer));
    open_streams_.insert(waker);
  }
  metrics_.streams.Add({call.method}, 1);
  return absl::OkStatus();
}

void RpcRuntime::EndStream(const CallInfo& call, const Caller& caller, const absl::Status& status,
                           absl::Duration start, const std::shared_ptr<StreamWaker>& waker) {
  bool was_open = false;
  {
    MutexLock lock(mutex_);
    was_open = open_streams_.erase(waker) > 0;
  }
  if (was_open) {
    admission_.EndStream(caller.peer);
    idle_ticker_.Remove(waker);
    metrics_.streams.Add({call.method}, -1);
  }
  const std::string code = absl::StatusCodeToString(status.code());
  metrics_.calls.Add({call.method, code});
  LogJob(LevelOf(call, status), absl::StartsWith(call.resource, "jobs/") ? call.resource : "",
         call.method,
         {{"code", code},
          {"peer", caller.peer},
          {"resource", call.resource},
          {"seconds", absl::StrCat(absl::ToDoubleSeconds(clock_.Boottime() - start))},
          {"error", std::string(status.message())}});
}

void RpcRuntime::Record(const CallInfo& call, const Caller& caller, const absl::Status& status,
                        absl::Duration duration) {
  const std::string code = absl::StatusCodeToString(status.code());
  metrics_.calls.Add({call.method, code});
  metrics_.latency.Observe({call.method}, absl::ToDoubleSeconds(duration));
  LogJob(LevelOf(call, status), absl::StartsWith(call.resource, "jobs/") ? call.resource : "",
         call.method,
         {{"code", code},
          {"peer", caller.peer},
          {"resource", call.resource},
          {"seconds", absl::StrCat(absl::ToDoubleSeconds(duration))},
          {"error", std::string(status.message())}});
}

void RpcRuntime::CountStreamBytes(const CallInfo& call, bool sent, size_t bytes) {
  metrics_.stream_bytes.Add({call.method, sent ? "sent" : "received"}, static_cast<double>(bytes));
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
