#pragma once

// What every RPC goes through: who may do it, how long it took, how it ended. A unary method is
// then its own few lines:
//
//   grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context, const GetJobRequest*
//   request, Job* response) override {
//     return runtime_.Unary(context, *request, {"JobService.GetJob", "jobs.get", request->name()},
//     [=](const Caller& caller) {
//       return handlers_.GetJob(caller, *request, response);
//     });
//   }

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/telemetry/metrics.h"
#include "google/protobuf/message.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/admission.h"
#include "server/rpc/executor.h"
#include "server/rpc/ticker.h"
#include "server/streams/message_stream.h"

namespace graft {

// Metadata of a call that the gateway makes for an HTTP client: who that is.
inline constexpr char kHttpPeerKey[] = "graft-http-peer";

struct Caller {
  std::string owner = "default";  // There are no accounts yet.
  // For logs and admission: address and port, so one connection; behind the gateway "http:" and the
  // client's address, however many connections it has.
  std::string peer;
  // Nobody waits for the answer any more: the caller has gone, the deadline is over, or the server
  // ends without waiting longer. What takes long asks now and then, and gives up.
  Gone gone;
};

// Where a call's work is done. Each lane has threads of its own, so that none waits for what
// another does.
enum class Lane {
  kShort,   // A question to the store, or one to change something.
  kUrgent,  // Leases: nothing that can become slow.
  kBulk,    // Pieces of files, in and out. The end of an upload is kLong.
  kLong,    // Reading all of a data set, making files: minutes.
  kCheck,  // Reading what new jobs name: whoever submits waits for nobody's files but others' data.
  kPlan,   // Saying what a job would do: seconds, in which a worker may be waited for.
};

struct CallInfo {
  const char* method;    // "JobService.GetJob": label of telemetry and logs.
  const char* verb;      // "jobs.get": what Authorize judges.
  std::string resource;  // "jobs/abc"; empty for lists and creations.
  Lane lane = Lane::kShort;
  // A stream that goes on until somebody ends it; others end by themselves, and may when the server
  // drains.
  bool endless = false;
};

// Families of all calls; one for a process.
struct CallMetrics {
  explicit CallMetrics(MetricRegistry& registry);

  CounterFamily& calls;
  HistogramFamily& latency;
  GaugeFamily& streams;
  CounterFamily& stream_bytes;
};

struct RpcRuntimeOptions {
  std::string name = "users";  // At most 7 characters: of its threads.
  int threads = kShortThreads;
  // More are RESOURCE_EXHAUSTED.
  size_t max_queued_calls = kMaxQueuedCalls;
  AdmissionLimits limits;
};

// Shared by all services of a listener: its threads, and what its callers may hold. Thread-safe;
// outlives every call.
class RpcRuntime {
 public:
  RpcRuntime(CallMetrics& metrics, Clock& clock, const RpcRuntimeOptions& options);

  // May `caller` do `verb` to `resource`? PERMISSION_DENIED when not. Everybody is owner "default"
  // and may do everything, for there are no accounts yet; every call passes here, so that there is
  // one place to change.
  absl::Status Authorize(const Caller& caller, absl::string_view verb,
                         absl::string_view resource) const;

  // Runs `body` in the call's lane and answers what it returns. What `body` captures must live as
  // long as the call, as its request and response do.
  grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context,
                                  const google::protobuf::Message& request, const CallInfo& call,
                                  std::function<absl::Status(const Caller&)> body);
  // The same for a call that may turn out to take long: where `body` says nothing, it runs again in
  // `long_lane`, of which it is told and where it answers.
  using QuickOrLong = std::function<std::optional<absl::Status>(const Caller&, Lane)>;
  grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context,
                                  const google::protobuf::Message& request, const CallInfo& call,
                                  Lane long_lane, QuickOrLong body);

  // For the reactors of streams.h: admits a stream, or says why not (RESOURCE_EXHAUSTED: see
  // Admission; UNAVAILABLE: draining). An admitted one is ended by EndStream; `waker` is woken when
  // the server drains.
  absl::Status BeginStream(const CallInfo& call, const Caller& caller,
                           const std::shared_ptr<StreamWaker>& waker);
  // Wakes an admitted one now and then, too, to see whether it is idle.
  void WakeRegularly(const std::shared_ptr<StreamWaker>& waker) { idle_ticker_.Add(waker); }
  // `start`: boottime.
  void EndStream(const CallInfo& call, const Caller& caller, const absl::Status& status,
                 absl::Duration start, const std::shared_ptr<StreamWaker>& waker);

  // A message of a stream went out (or came in).
  void CountStreamBytes(const CallInfo& call, bool sent, size_t bytes);

  // Ends every endless stream and refuses new streams with UNAVAILABLE: the server goes away.
  void Drain();
  bool draining() const;

  Executor& executor(Lane lane) { return *executors_[static_cast<size_t>(lane)]; }
  Admission& admission() { return admission_; }
  Clock& clock() { return clock_; }
  // `context` outlives what is returned.
  static Caller CallerOf(const grpc::CallbackServerContext& context);

 private:
  struct UnaryCall;
  void Record(const CallInfo& call, const Caller& caller, const absl::Status& status,
              absl::Duration duration);
  // Takes a turn of the call in `lane`, or ends it.
  void Run(const std::shared_ptr<UnaryCall>& unary, Lane lane);
  void Finish(UnaryCall& unary, const absl::Status& status);

  const RpcRuntimeOptions options_;
  CallMetrics& metrics_;
  Clock& clock_;
  Admission admission_;
  mutable Mutex mutex_;
  std::set<std::shared_ptr<StreamWaker>> open_streams_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  Ticker idle_ticker_;
  // Last: their threads use the others. By Lane.
  std::array<std::unique_ptr<Executor>, 6> executors_;
};

}  // namespace graft
