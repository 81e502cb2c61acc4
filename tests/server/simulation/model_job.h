#pragma once

// A job as the model knows it, and its answers.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/store/job_store.h"

namespace graft::simulation {

// What a verb answers: a code and the reason of its ErrorInfo or, if it is OK, a value as text
// (text.h).
struct Answer {
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string reason;
  std::string value;

  bool ok() const { return code == absl::StatusCode::kOk; }
};

// What a job is submitted with.
struct Submission {
  int32_t priority = 0;
  std::optional<absl::Time> deadline;
  bool allow_migration = false;
  bool evaluate = false;
  std::string output;  // Empty: it will have the job's id.
  int keep_last = 1;
  JobNeeds needs;
};

struct ModelCheckpoint {
  char files = 'a';
  JobNeeds needs;
  int attempt = 0;
  bool pinned = false;
  std::optional<absl::Duration> kept_since;
};

struct ModelAttempt {
  WorkerRef worker;
  int64_t lease_epoch = 0;
  int64_t resumed_from = 0;
  int64_t last_batch = 0;
  bool progressed = false;
  bool difference_logged = false;
  bool end_reported = false;
  v1::AttemptOutcome outcome = v1::ATTEMPT_OUTCOME_UNSPECIFIED;
};

struct ModelLease {
  std::string request_id;
  // Not known after a restart, until somebody looks.
  std::optional<absl::Duration> begin, end;
};

struct ModelJob {
  std::string name;
  int64_t number = 0;  // Order of submission.
  Submission submission;
  std::string output;  // Nothing: an evaluation.
  std::string retry_of;
  JobNeeds needs;

  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  v1::FailureClass failure_class = v1::FAILURE_CLASS_UNSPECIFIED;
  std::optional<absl::Duration> done_since;
  bool end_marked = false;
  int64_t lease_epoch = 0;
  std::optional<ModelLease> lease;
  std::vector<ModelAttempt> attempts;
  std::string preempted_by;
  bool cancel_saves = false;
  absl::Duration not_before;  // Zero: it waits for no retry.

  v1::JobStage stage = v1::JOB_STAGE_UNSPECIFIED;
  int64_t step = 0;
  int64_t rows = 0;  // Of this stage.
  int64_t requested_step = 0;
  int64_t saved_step = 0;  // The last that ever had a checkpoint.
  int64_t evaluated_step = 0, evaluated_rows = 0;
  std::map<int64_t, ModelCheckpoint, std::greater<>> checkpoints;  // Newest first.

  int failures = 0;        // In a row, without progress.
  int failures_alike = 0;  // The last of them, at one place by one cause.
  std::string failure_place;
  absl::Duration failure_ran;

  std::vector<std::string> log;  // Its events as text, from 1.
  std::map<int64_t, std::map<std::string, double>> metrics, evaluations;  // By step.

  ModelAttempt& attempt() { return attempts.back(); }
  int64_t newest_step() const { return checkpoints.empty() ? 0 : checkpoints.begin()->first; }
};

// A worker holds it.
inline bool IsHeldState(v1::JobState state) {
  return state == v1::JOB_STATE_RUNNING || state == v1::JOB_STATE_PAUSING ||
         state == v1::JOB_STATE_CANCELLING;
}
inline bool IsDoneState(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED ||
         state == v1::JOB_STATE_CANCELLED;
}

}  // namespace graft::simulation
