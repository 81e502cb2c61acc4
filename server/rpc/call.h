#pragma once

// What every RPC goes through: who may do it, how long it took, how it ended. A unary method is
// then its own few lines:
//
//   grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context, const GetJobRequest*
//   request, Job* response) override {
//     return runtime_.Unary(context, {"JobService.GetJob", "jobs.get", request->name()}, [=](const
//     Caller& caller) {
//       return handlers_.GetJob(caller, *request, response);
//     });
//   }

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "common/telemetry/metrics.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/executor.h"
#include "server/streams/message_stream.h"

namespace graft {

struct Caller {
  std::string owner = "default";  // There are no accounts yet.
  std::string peer;               // Address, for logs.
};

struct CallInfo {
  const char* method;    // "JobService.GetJob": label of telemetry and logs.
  const char* verb;      // "jobs.get": what Authorize judges.
  std::string resource;  // "jobs/abc"; empty for lists and creations.
  // A stream that goes on until somebody ends it; others end by themselves, and may when the server
  // drains.
  bool endless = false;
  // Has threads of its own: those of the others may all be busy with large uploads for minutes.
  bool urgent = false;
};

struct RpcRuntimeOptions {
  int threads = 16;
  // Calls that wait for a thread at the most; more are RESOURCE_EXHAUSTED.
  size_t max_queued_calls = 1000;
  // Open streams at the most, over all methods.
  size_t max_streams = 4096;
};

// Shared by all services of a server. Thread-safe; outlives every call.
class RpcRuntime {
 public:
  RpcRuntime(MetricRegistry& registry, const RpcRuntimeOptions& options);

  // May `caller` do `verb` to `resource`? PERMISSION_DENIED when not. Everybody is owner "default"
  // and may do everything, for there are no accounts yet; every call passes here, so that there is
  // one place to change.
  absl::Status Authorize(const Caller& caller, absl::string_view verb,
                         absl::string_view resource) const;

  // Runs `body` on a thread of the executor and answers what it returns. What `body` captures must
  // live as long as the call, as its request and response do.
  grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context, const CallInfo& call,
                                  std::function<absl::Status(const Caller&)> body);

  // For the reactors of streams.h: admits a stream, or says why not (RESOURCE_EXHAUSTED: too many
  // are open; UNAVAILABLE: draining). An admitted one is ended by EndStream; `waker` is woken when
  // the server drains.
  absl::Status BeginStream(const CallInfo& call, const Caller& caller,
                           const std::shared_ptr<StreamWaker>& waker);
  void EndStream(const CallInfo& call, const Caller& caller, const absl::Status& status,
                 absl::Duration start, const std::shared_ptr<StreamWaker>& waker);

  // A message of a stream went out (or came in).
  void CountStreamBytes(const CallInfo& call, bool sent, size_t bytes);

  // Ends every endless stream and refuses new streams with UNAVAILABLE: the server goes away.
  void Drain();
  bool draining() const;

  Executor& executor() { return executor_; }
  static Caller CallerOf(const grpc::CallbackServerContext& context);

 private:
  void Record(const CallInfo& call, const Caller& caller, const absl::Status& status,
              absl::Duration duration);

  const RpcRuntimeOptions options_;
  CounterFamily& calls_;
  HistogramFamily& latency_;
  GaugeFamily& streams_;
  CounterFamily& stream_bytes_;
  mutable Mutex mutex_;
  std::set<std::shared_ptr<StreamWaker>> open_streams_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  // Last: their threads use the others.
  Executor executor_;
  Executor urgent_executor_;
};

}  // namespace graft
