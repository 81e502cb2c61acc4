#include "worker/agent/attempt_end.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors/status_details.h"
#include "common/rpc/status.h"
#include "worker/agent/attempt_logs.h"

namespace graft {
namespace {

// The end of the engine's log, for the error of an engine that crashed.
constexpr int64_t kLogTailBytes = 2000;

}  // namespace

worker::v1::FinishAttemptRequest FailureOf(const absl::Status& status,
                                           v1::FailureClass failure_class, std::string cause) {
  worker::v1::FinishAttemptRequest request;
  auto& failed = *request.mutable_failed();
  *failed.mutable_error() = ToRpcStatus(status);
  failed.set_failure_class(failure_class);
  failed.set_cause(cause.empty() ? absl::StatusCodeToString(status.code()) : std::move(cause));
  return request;
}

worker::v1::FinishAttemptRequest CancelledEnd() {
  worker::v1::FinishAttemptRequest request;
  request.mutable_cancelled();
  return request;
}

worker::v1::FinishAttemptRequest PausedEnd() {
  worker::v1::FinishAttemptRequest request;
  request.mutable_paused();
  return request;
}

worker::v1::FinishAttemptRequest ReturnedEnd(const absl::Status& reason, bool worker_fault) {
  worker::v1::FinishAttemptRequest request;
  *request.mutable_returned()->mutable_reason() = ToRpcStatus(reason);
  request.mutable_returned()->set_worker_fault(worker_fault);
  return request;
}

worker::v1::FinishAttemptRequest BystanderEnd(const EngineProcess::End& end) {
  worker::v1::FinishAttemptRequest request = ReturnedEnd(
      absl::UnavailableError(absl::StrCat("the engine ended by ", end.text,
                                          " while it made a text between two steps of the job")),
      /*worker_fault=*/false);
  request.mutable_returned()->set_bystander(true);
  return request;
}

std::string ResultOf(const worker::v1::FinishAttemptRequest& request) {
  if (request.has_succeeded()) return "succeeded";
  if (request.has_cancelled()) return "cancelled";
  if (request.has_paused()) return "paused";
  return request.has_returned() ? "returned" : "failed";
}

absl::Status WorkerStopped() { return absl::UnavailableError("the worker was stopped"); }

bool LeavesEngineSound(const engine::v1::Finished& finished) {
  const auto code = static_cast<absl::StatusCode>(finished.status().code());
  if (code == absl::StatusCode::kOk || code == absl::StatusCode::kCancelled) return true;
  const v1::FailureClass failure = finished.failure_class();
  return failure == v1::FAILURE_CLASS_DATA || failure == v1::FAILURE_CLASS_CONFIG ||
         failure == v1::FAILURE_CLASS_DIVERGED;
}

worker::v1::FinishAttemptRequest EndOf(const engine::v1::Finished& finished) {
  const absl::Status status = FromRpcStatus(finished.status());
  if (absl::IsCancelled(status)) return CancelledEnd();
  if (!status.ok()) {
    // Not of memory, which has a class of its own: this machine's disk is full.
    const bool disk_full = absl::IsResourceExhausted(status) &&
                           finished.failure_class() == v1::FAILURE_CLASS_INFRASTRUCTURE;
    if (disk_full) return ReturnedEnd(status, /*worker_fault=*/true);
    // It began on another kind of machine, and this one cannot go on with it.
    const bool cannot = absl::IsFailedPrecondition(status) &&
                        finished.failure_class() == v1::FAILURE_CLASS_INFRASTRUCTURE;
    return cannot ? ReturnedEnd(status, /*worker_fault=*/false)
                  : FailureOf(status, finished.failure_class());
  }
  worker::v1::FinishAttemptRequest request;
  auto& succeeded = *request.mutable_succeeded();
  *succeeded.mutable_result() = finished.result();
  *succeeded.mutable_output() = finished.output();
  *succeeded.mutable_artifacts() = finished.artifacts();
  succeeded.set_peft_snippet(finished.peft_snippet());
  return request;
}

worker::v1::FinishAttemptRequest CrashOf(const EngineProcess::End& end,
                                         const std::string& log_path) {
  if (end.out_of_memory) {
    return FailureOf(absl::ResourceExhaustedError(
                         "killed by the kernel for want of memory: the machine, or the control "
                         "group, had none left, though the engine kept to what its worker gave "
                         "it; a smaller --engine-memory-gb of graft-worker leaves more to others, "
                         "and a smaller batch_size with more gradient_accumulation_steps needs "
                         "less"),
                     v1::FAILURE_CLASS_OUT_OF_MEMORY);
  }
  const std::string tail = LogTail(log_path, kLogTailBytes);
  return FailureOf(
      absl::UnavailableError(absl::StrCat("the engine ended by ", end.text,
                                          tail.empty() ? "" : "; its last words:\n", tail)),
      v1::FAILURE_CLASS_INFRASTRUCTURE, end.text);
}

worker::v1::FinishAttemptRequest PreparationFailure(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
      return FailureOf(status, v1::FAILURE_CLASS_INTERNAL);
    case absl::StatusCode::kResourceExhausted:
      return ReturnedEnd(status, /*worker_fault=*/true);
    case absl::StatusCode::kDataLoss:
      // A checkpoint's the server drops, and the job goes on from the one before.
      return FailureOf(status, ReasonOf(status) == kReasonCheckpointCorrupt
                                   ? v1::FAILURE_CLASS_INFRASTRUCTURE
                                   : v1::FAILURE_CLASS_INTERNAL);
    default:
      return FailureOf(status, v1::FAILURE_CLASS_INFRASTRUCTURE);
  }
}

}  // namespace graft
