#pragma once

// The life of a job: one table of what may follow what, and the one function that changes a state.
//
//   QUEUED ◀──▶ RUNNING ──▶ SUCCEEDED | FAILED
//    ▲ │ │         │ └─────────────┐
//    │ │ │         ▼               ▼
//    │ │ │      PAUSING ──────▶ CANCELLING ──▶ CANCELLED | SUCCEEDED | FAILED
//    │ ▼ │         ├──▶ SUCCEEDED | FAILED
//  PAUSED ◀────────┘
//    └───┴──▶ CANCELLED
//
// RUNNING goes back to QUEUED when its worker is lost; PAUSING is PAUSED then. A queued job fails
// only by a lease that ended once too often, so QUEUED ▶ FAILED is not needed: RUNNING fails
// directly.

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "graft/v1/event.pb.h"
#include "graft/v1/job.pb.h"

namespace graft {

bool IsFinal(v1::JobState state);
// A worker holds the job: RUNNING, PAUSING, CANCELLING.
bool IsHeld(v1::JobState state);
// May a job go from `from` to `to`? From UNSPECIFIED (it does not exist yet) only to QUEUED.
bool MayChange(v1::JobState from, v1::JobState to);

// "QUEUED"; the enum's name without its prefix.
std::string StateName(v1::JobState state);
// JOB_STATE_UNSPECIFIED when there is no such state.
v1::JobState StateFromName(absl::string_view name);

// "INFRASTRUCTURE"; the enum's name without its prefix.
std::string FailureClassName(v1::FailureClass failure_class);

// "TRAINING".
std::string StageName(v1::JobStage stage);

// Why the state changes. error and failure_class are set when the job failed, or was queued again
// after a failure.
struct ChangeReason {
  std::string text;
  google::rpc::Status error;
  v1::FailureClass failure_class = v1::FAILURE_CLASS_UNSPECIFIED;
};

// Changes job.state and what follows from it (done, stage, reason, start, end and update times,
// eta, error) and returns the event that tells of it, without its sequence. FAILED_PRECONDITION
// (WRONG_STATE) when the table forbids it; the job is unchanged then.
absl::StatusOr<v1::JobEvent> ChangeState(v1::Job& job, v1::JobState to, const ChangeReason& reason,
                                         absl::Time now);

}  // namespace graft
