#include "common/jobs/job_state.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/errors/status_details.h"
#include "common/jobs/timestamps.h"

namespace graft {
namespace {

struct Change {
  v1::JobState from;
  v1::JobState to;
};

constexpr Change kChanges[] = {
    {v1::JOB_STATE_UNSPECIFIED, v1::JOB_STATE_QUEUED},
    {v1::JOB_STATE_QUEUED, v1::JOB_STATE_RUNNING},
    {v1::JOB_STATE_QUEUED, v1::JOB_STATE_PAUSED},
    {v1::JOB_STATE_QUEUED, v1::JOB_STATE_CANCELLED},
    {v1::JOB_STATE_QUEUED, v1::JOB_STATE_FAILED},  // By its deadline, as the other one below.
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_SUCCEEDED},
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_FAILED},
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_PAUSING},
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_CANCELLING},
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_QUEUED},     // Its worker was lost.
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_PAUSED},     // At its pause_at_step.
    {v1::JOB_STATE_PAUSING, v1::JOB_STATE_PAUSED},     // Also when its worker was lost.
    {v1::JOB_STATE_PAUSING, v1::JOB_STATE_SUCCEEDED},  // It was done before it heard.
    {v1::JOB_STATE_PAUSING, v1::JOB_STATE_FAILED},
    {v1::JOB_STATE_PAUSING, v1::JOB_STATE_CANCELLING},
    {v1::JOB_STATE_PAUSED, v1::JOB_STATE_QUEUED},
    {v1::JOB_STATE_PAUSED, v1::JOB_STATE_CANCELLED},
    {v1::JOB_STATE_PAUSED, v1::JOB_STATE_FAILED},
    {v1::JOB_STATE_CANCELLING, v1::JOB_STATE_CANCELLED},
    {v1::JOB_STATE_CANCELLING, v1::JOB_STATE_SUCCEEDED},  // It was done before it heard.
    {v1::JOB_STATE_CANCELLING, v1::JOB_STATE_FAILED},
};

constexpr char kPrefix[] = "JOB_STATE_";

}  // namespace

bool IsFinal(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED ||
         state == v1::JOB_STATE_CANCELLED;
}

bool IsHeld(v1::JobState state) {
  return state == v1::JOB_STATE_RUNNING || state == v1::JOB_STATE_PAUSING ||
         state == v1::JOB_STATE_CANCELLING;
}

bool MayChange(v1::JobState from, v1::JobState to) {
  for (const Change& change : kChanges) {
    if (change.from == from && change.to == to) return true;
  }
  return false;
}

std::string StateName(v1::JobState state) {
  const std::string& name = v1::JobState_Name(state);
  return absl::StartsWith(name, kPrefix) ? name.substr(sizeof(kPrefix) - 1)
                                         : absl::StrCat(static_cast<int>(state));
}

v1::JobState StateFromName(absl::string_view name) {
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  v1::JobState_Parse(absl::StrCat(kPrefix, name), &state);
  return state;
}

std::string FailureClassName(v1::FailureClass failure_class) {
  const std::string& name = v1::FailureClass_Name(failure_class);
  return name.empty() ? absl::StrCat(static_cast<int>(failure_class))
                      : std::string(absl::StripPrefix(name, "FAILURE_CLASS_"));
}

std::string StageName(v1::JobStage stage) {
  const std::string& name = v1::JobStage_Name(stage);
  return name.empty() ? absl::StrCat(static_cast<int>(stage))
                      : std::string(absl::StripPrefix(name, "JOB_STAGE_"));
}

absl::StatusOr<v1::JobEvent> ChangeState(v1::Job& job, v1::JobState to, const ChangeReason& reason,
                                         absl::Time now) {
  const v1::JobState from = job.state();
  if (!MayChange(from, to)) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat(job.name(), " is ", StateName(from),
                                                   " and cannot become ", StateName(to))),
        kReasonWrongState);
  }
  job.set_state(to);
  job.set_done(IsFinal(to));
  job.set_state_reason(reason.text);
  *job.mutable_update_time() = ToTimestamp(now);
  if (from == v1::JOB_STATE_UNSPECIFIED) *job.mutable_create_time() = job.update_time();
  if (to == v1::JOB_STATE_QUEUED) *job.mutable_queue_time() = job.update_time();
  if (to == v1::JOB_STATE_RUNNING && !job.has_start_time()) {
    *job.mutable_start_time() = job.update_time();
  }
  if (job.done()) *job.mutable_end_time() = job.update_time();
  if (to != v1::JOB_STATE_RUNNING) job.clear_requested_checkpoint_step();
  if (to != v1::JOB_STATE_CANCELLING) job.clear_cancel_saves();
  if (!IsHeld(to)) {
    job.set_stage(v1::JOB_STAGE_UNSPECIFIED);
    job.set_eta_seconds(0);
    job.set_stage_done(0);
    job.set_stage_total(0);
  }
  if (to == v1::JOB_STATE_FAILED) {
    *job.mutable_error() = reason.error;
    job.set_failure_class(reason.failure_class);
  }

  v1::JobEvent event;
  *event.mutable_create_time() = job.update_time();
  event.set_attempt(job.attempt());
  v1::StateChange& change = *event.mutable_state_change();
  change.set_from(from);
  change.set_to(to);
  change.set_reason(reason.text);
  if (reason.failure_class != v1::FAILURE_CLASS_UNSPECIFIED) {
    *change.mutable_error() = reason.error;
    change.set_failure_class(reason.failure_class);
  }
  return event;
}

}  // namespace graft
