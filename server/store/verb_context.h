#pragma once

// What every verb works with, and the few steps that many share.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/status_macros.h"
#include "common/jobs/job_state.h"
#include "google/protobuf/message.h"
#include "server/store/job_store.h"
#include "server/store/tables.h"
#include "server/store/volatile_times.h"

namespace graft {

// One transaction. Reads leave what follows `running_time` as it is.
struct VerbContext {
  Tables& tables;
  const StoreOptions& options;
  const VolatileTimes& times;
  const absl::Duration running_time;    // JobStore::RunningTime.
  std::vector<JobChange> changes = {};  // For listeners.
  std::vector<std::function<void(VolatileTimes&)>> after_commit = {};
  bool makes_room = false;  // WriteEffects::makes_room.
  // Of the change of state that SetState made and that is noted next.
  v1::FailureClass failure_class = v1::FAILURE_CLASS_UNSPECIFIED;

  // What changes with the transaction though it is no row.
  void AfterCommit(std::function<void(VolatileTimes&)> change) {
    after_commit.push_back(std::move(change));
  }
  void ForgetTimes(int64_t job) {
    AfterCommit([job](VolatileTimes& changed) { changed.Forget(job); });
  }
  void NotBefore(int64_t job, absl::Duration time) {
    AfterCommit([=](VolatileTimes& changed) { changed.SetNotBefore(job, time); });
  }
  // The lease lasts its full duration from now.
  void ExtendLease(int64_t job, int64_t lease_epoch) {
    AfterCommit([=, now = Boottime(), term = options.lease_duration](VolatileTimes& changed) {
      changed.ExtendLease(job, lease_epoch, now, term);
    });
  }
  absl::Time Now() const { return options.clock->Now(); }
  absl::Duration Boottime() const { return options.clock->Boottime(); }
};

// The row of "jobs/{id}" (or "{id}"). NOT_FOUND, INVALID_ARGUMENT.
absl::StatusOr<JobRow> RequireJob(VerbContext& context, absl::string_view name);
absl::StatusOr<JobRow> RequireJob(VerbContext& context, int64_t number);
// The row's job with specs and attempts.
absl::StatusOr<v1::Job> WholeJob(VerbContext& context, const JobRow& row);

// Gives the event its sequence; row.job.last_sequence follows (not yet saved).
void NumberEvent(VerbContext& context, JobRow& row, v1::JobEvent& event);
// The same, and appends it.
absl::Status AddEvent(VerbContext& context, JobRow& row, v1::JobEvent event);
// What Job.step counts: "step", or "row" of an evaluation.
const char* UnitOf(const JobRow& row);
// For people: "begins again", or from which checkpoint.
absl::StatusOr<std::string> HowItGoesOn(VerbContext& context, const JobRow& row);
// ChangeState with its event. Of the checkpoints of a job that is done, those stay that
// KeepCheckpointsOfDone says.
absl::Status SetState(VerbContext& context, JobRow& row, v1::JobState to,
                      const ChangeReason& reason);
// A PAUSING job becomes PAUSED, at the step of its newest checkpoint. `ended`: what ended its
// attempt instead of the pause, if anything did.
absl::Status BecomePaused(VerbContext& context, JobRow& row, ChangeReason ended);
// Gives the row, which is about to be written, its next version.
void NewVersion(VerbContext& context, JobRow& row);
// For listeners. `previous` is the state that it had before the transaction.
void NoteChange(VerbContext& context, const JobRow& row, v1::JobState previous,
                const LeaseRow* lease);
// Writes the row as a new version and notes the change.
absl::Status SaveJob(VerbContext& context, JobRow& row, v1::JobState previous,
                     const LeaseRow* lease);
// The same with the job's present lease, if it has one.
absl::Status SaveJob(VerbContext& context, JobRow& row, v1::JobState previous);
// The change noted last is also news of an attempt: its first progress, or its end.
void NoteAttempt(VerbContext& context, const AttemptRow& attempt, AttemptEnd end);

// FAILED_PRECONDITION (STALE_LEASE).
absl::Status StaleLease(const LeaseRef& lease);
// The row and lease that `ref` names, if it is the present one. STALE_LEASE also when the job is
// gone.
struct HeldJob {
  JobRow row;
  LeaseRow lease;
};
absl::StatusOr<HeldJob> RequireLease(VerbContext& context, const LeaseRef& ref);

// Answers kept for request_ids. True when `answer` is that of an earlier call. ALREADY_EXISTS
// (REQUEST_ID_REUSED).
absl::StatusOr<bool> FindAnswer(VerbContext& context, absl::string_view verb, const RequestKey& key,
                                google::protobuf::Message& answer);
absl::Status KeepAnswer(VerbContext& context, absl::string_view verb, const RequestKey& key,
                        const google::protobuf::Message& answer);

// The answer of an earlier call with this key; else that of `act`, which is kept.
template <typename Act>
absl::StatusOr<v1::Job> AnswerOnce(VerbContext& context, absl::string_view verb,
                                   const RequestKey& key, const Act& act) {
  v1::Job answer;
  ASSIGN_OR_RETURN(const bool answered, FindAnswer(context, verb, key, answer));
  if (answered) return answer;
  ASSIGN_OR_RETURN(answer, act());
  RETURN_IF_ERROR(KeepAnswer(context, verb, key, answer));
  return answer;
}

// Holder of a checkpoint's files.
std::string CheckpointHolder(int64_t job, int64_t step);

}  // namespace graft
