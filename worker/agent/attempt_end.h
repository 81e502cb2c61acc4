#pragma once

// How an attempt's end is told to the server.

#include <string>

#include "absl/status/status.h"
#include "graft/engine/v1/engine.pb.h"
#include "graft/worker/v1/worker.pb.h"
#include "worker/agent/engine_launcher.h"

namespace graft {

// FAILED, with the status's code as its cause where none is given.
worker::v1::FinishAttemptRequest FailureOf(const absl::Status& status,
                                           v1::FailureClass failure_class, std::string cause = "");
worker::v1::FinishAttemptRequest CancelledEnd();
worker::v1::FinishAttemptRequest PausedEnd();
// The job goes back as it is. `worker_fault`: this worker cannot do any job as it is.
worker::v1::FinishAttemptRequest ReturnedEnd(const absl::Status& reason, bool worker_fault);

// The engine ended by what somebody else did with it: the job goes back, and may come again.
worker::v1::FinishAttemptRequest BystanderEnd(const EngineProcess::End& end);

// "succeeded", "failed", "cancelled", "paused", "returned".
std::string ResultOf(const worker::v1::FinishAttemptRequest& request);

// Why an attempt ends that its worker has no time for.
absl::Status WorkerStopped();

// The engine can do the next job: nothing broke in it. An error of CUDA stays with its process, and
// after one of memory it holds what the next job needs.
bool LeavesEngineSound(const engine::v1::Finished& finished);
// What the engine said itself, but for a pause.
worker::v1::FinishAttemptRequest EndOf(const engine::v1::Finished& finished);
// Of an engine that ended without a word; the end of its log stands in the error.
worker::v1::FinishAttemptRequest CrashOf(const EngineProcess::End& end,
                                         const std::string& log_path);
// Of inputs that could not be laid out. As the lease names them they are wrong wherever it is
// tried, and corrupt in the server's own store, which is the server's fault or ours (INTERNAL); a
// disk that is full is this worker's; and everything else may go better on another machine or
// later.
worker::v1::FinishAttemptRequest PreparationFailure(const absl::Status& status);

}  // namespace graft
