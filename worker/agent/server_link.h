#pragma once

// The worker's side of graft.worker.v1: each call with its deadline, its retry and its way of
// failing, so that the agent above deals with absl::Status alone.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/stop_signal.h"
#include "graft/worker/v1/worker.grpc.pb.h"
#include "grpcpp/channel.h"

namespace graft {

// What this machine's file system refuses, or its disk cannot read or write, says nothing of the
// job nor of the server's bytes: INVALID_ARGUMENT and DATA_LOSS become ABORTED.
absl::Status OfThisMachine(const absl::Status& status);

// True for the status of a call that was made under a lease that is no longer held.
bool IsStaleLease(const absl::Status& status);

// Thread-safe; blocks.
class ServerLink {
 public:
  struct Options {
    worker::v1::WorkerIdentity identity;
    absl::Duration call_timeout = absl::Seconds(30);
    absl::Duration log_timeout = absl::Seconds(3);
    // Back-off between tries: grows from the first to the last by half, with jitter.
    absl::Duration first_delay = absl::Milliseconds(100);
    absl::Duration last_delay = absl::Seconds(3);
  };
  ServerLink(std::shared_ptr<grpc::Channel> channel, Options options);

  // Calls `call` until it succeeds, fails for good, or `stop` is set (then CANCELLED). Only
  // UNAVAILABLE, DEADLINE_EXCEEDED and a RESOURCE_EXHAUSTED with which the server says a reason
  // (it is overloaded, its disk is full) are tried again: every call of this protocol may safely be
  // repeated. Without one it is the message that is too large, or this machine's own disk.
  absl::Status Retry(StopSignal& stop, const std::function<absl::Status()>& call) const;

  // One try each. The identity is filled in here. `timeout`: at most call_timeout.
  absl::StatusOr<worker::v1::HeartbeatResponse> Heartbeat(
      worker::v1::HeartbeatRequest request, absl::Duration timeout = absl::InfiniteDuration());
  // `capabilities`: unset fields are not known.
  absl::StatusOr<worker::v1::LeaseJobResponse> LeaseJob(
      const std::string& request_id,
      const std::optional<worker::v1::Capabilities>& capabilities = std::nullopt);
  // CANCELLED: `stop` was set, while they waited for the server too.
  absl::StatusOr<worker::v1::ReportEventsResponse> ReportEvents(
      worker::v1::ReportEventsRequest request, StopSignal& stop);
  absl::Status CommitCheckpoint(worker::v1::CommitCheckpointRequest request, StopSignal& stop);
  absl::StatusOr<worker::v1::FinishAttemptResponse> FinishAttempt(
      worker::v1::FinishAttemptRequest request, StopSignal& stop);
  // FinishAttempt for a moment only, whatever was stopped.
  absl::Status HandBack(worker::v1::FinishAttemptRequest request);
  // Within log_timeout: nothing waits for a log.
  absl::Status AppendLog(worker::v1::AppendLogRequest request);

  // Uploads those of the files (paths below `directory`) that the server does not have. NOT_FOUND:
  // a file is gone. CANCELLED: `stop` was set.
  absl::Status UploadMissing(const std::string& directory, const std::vector<v1::Artifact>& files,
                             StopSignal& stop);
  // Fetches a blob into the file `path`, which appears whole, with the right hash, or not at all.
  // DATA_LOSS: it is corrupt in the server's store. ABORTED: it arrived as something else, or see
  // OfThisMachine. CANCELLED: `stop` was set.
  absl::Status FetchBlob(const v1::Artifact& artifact, const std::string& path, StopSignal& stop);

  // Follows the command stream until it ends or `stop` is set; returns why. `on_command` is called
  // on this thread.
  absl::Status FollowCommands(worker::v1::ConnectRequest request,
                              const std::function<void(const worker::v1::Command&)>& on_command,
                              StopSignal& stop);

  // The tokens of a batch of Generate commands. `next` fills in the next message and returns false
  // at the end.
  absl::Status ReportGeneration(
      const std::string& id, const std::function<bool(worker::v1::ReportGenerationRequest&)>& next);

  // One try. The answer to a Measure command.
  absl::Status ReportMeasurement(worker::v1::ReportMeasurementRequest request);

  // The end of a batch that this worker cannot serve, and why.
  absl::Status ReportGenerationError(const worker::v1::Command::Generate& first,
                                     const absl::Status& error);

 private:
  absl::Status UploadBlob(const std::string& path, const v1::Artifact& artifact, StopSignal& stop);

  const Options options_;
  const std::unique_ptr<worker::v1::WorkerService::Stub> stub_;
};

}  // namespace graft
