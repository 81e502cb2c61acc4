#include "server/store/life_verbs.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_state.h"
#include "common/jobs/names.h"
#include "common/jobs/timestamps.h"
#include "server/store/checkpoint_verbs.h"
#include "server/store/failures.h"
#include "server/store/job_insertion.h"
#include "server/store/needs.h"

namespace graft {
namespace {

constexpr char kCancelVerb[] = "CancelJob";
constexpr char kPauseVerb[] = "PauseJob";
constexpr char kResumeVerb[] = "ResumeJob";
constexpr char kCheckpointVerb[] = "CheckpointJob";
constexpr char kRetryVerb[] = "RetryJob";
constexpr char kUpdateVerb[] = "UpdateJob";

// "jobs/a is PAUSED; …": what the verb cannot do, and what would help.
absl::Status WrongState(const JobRow& row, absl::string_view what) {
  return WithReason(absl::FailedPreconditionError(absl::StrCat(
                        row.job.name(), " is ", StateName(row.job.state()), "; ", what)),
                    kReasonWrongState);
}

// A verb that changes a job and answers with it.
absl::StatusOr<v1::Job> ChangeOnce(VerbContext& context, absl::string_view verb,
                                   const RequestKey& request, absl::string_view name,
                                   const std::function<absl::Status(JobRow& row)>& change) {
  return AnswerOnce(context, verb, request, [&]() -> absl::StatusOr<v1::Job> {
    ASSIGN_OR_RETURN(JobRow row, RequireJob(context, name));
    RETURN_IF_ERROR(change(row));
    return WholeJob(context, row);
  });
}

absl::Status Change(VerbContext& context, JobRow& row, v1::JobState to, const std::string& reason) {
  const v1::JobState previous = row.job.state();
  RETURN_IF_ERROR(SetState(context, row, to, {reason}));
  if (!IsHeld(to)) context.ForgetTimes(row.number);
  return SaveJob(context, row, previous);
}

absl::Status Cancel(VerbContext& context, JobRow& row, bool saves) {
  const v1::JobState state = row.job.state();
  switch (state) {
    case v1::JOB_STATE_QUEUED:
      return Change(context, row, v1::JOB_STATE_CANCELLED, "cancelled while it was queued");
    case v1::JOB_STATE_PAUSED:
      return Change(context, row, v1::JOB_STATE_CANCELLED, "cancelled while it was paused");
    case v1::JOB_STATE_RUNNING:
    case v1::JOB_STATE_PAUSING:
      row.job.set_cancel_saves(saves);
      return Change(context, row, v1::JOB_STATE_CANCELLING,
                    saves ? "asked to cancel once it has saved" : "asked to cancel");
    case v1::JOB_STATE_CANCELLING:
      if (saves || !row.job.cancel_saves()) return absl::OkStatus();
      row.job.clear_cancel_saves();
      RETURN_IF_ERROR(SaveJob(context, row, state));
      context.changes.back().cancel_hastened = true;
      return absl::OkStatus();
    default:
      return absl::OkStatus();
  }
}

const char* WhyNotPaused(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_PAUSING:
      return "it will be PAUSED at the end of its step";
    case v1::JOB_STATE_PAUSED:
      return "ResumeJob lets it go on";
    case v1::JOB_STATE_CANCELLING:
      return "it is being cancelled";
    default:
      return "only a job that is not done can be paused";
  }
}

absl::Status Pause(VerbContext& context, JobRow& row) {
  switch (row.job.state()) {
    case v1::JOB_STATE_QUEUED:
      return Change(context, row, v1::JOB_STATE_PAUSED, "paused while it was queued");
    case v1::JOB_STATE_RUNNING:
      return Change(context, row, v1::JOB_STATE_PAUSING, "asked to pause");
    default:
      return WrongState(row, WhyNotPaused(row.job.state()));
  }
}

// Of a PAUSED one.
absl::Status Resume(VerbContext& context, JobRow& row) {
  RETURN_IF_ERROR(CheckQueue(context));
  ForgetFailures(row);
  ASSIGN_OR_RETURN(const std::string how, HowItGoesOn(context, row));
  return Change(context, row, v1::JOB_STATE_QUEUED, absl::StrCat("asked to resume; ", how));
}

// The row of a trial's job; nothing: it was deleted.
absl::StatusOr<std::optional<JobRow>> FindTrialJob(VerbContext& context, absl::string_view name) {
  ASSIGN_OR_RETURN(const std::string id, ParseJobId(name));
  return context.tables.FindJob(id);
}

const char* WhyNotResumed(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_PAUSING:
      return "it can be resumed once it is PAUSED";
    case v1::JOB_STATE_FAILED:
    case v1::JOB_STATE_CANCELLED:
      return "RetryJob makes a new job that goes on from its checkpoint";
    case v1::JOB_STATE_SUCCEEDED:
    case v1::JOB_STATE_CANCELLING:
      return "only a PAUSED job can be resumed";
    default:
      return "it is not paused";
  }
}

const char* WhyNotRetried(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_SUCCEEDED:
      return "a new job whose init_from is its adapter trains that further";
    case v1::JOB_STATE_PAUSING:
    case v1::JOB_STATE_PAUSED:
      return "ResumeJob lets it go on";
    default:
      return "only a job that FAILED or was CANCELLED can be retried";
  }
}

// Where a retry of the job goes on: at its newest checkpoint, else where it began itself.
absl::StatusOr<std::optional<StartingPoint>> StartOfRetry(VerbContext& context,
                                                          const JobRow& failed,
                                                          const v1::JobSpec& resolved,
                                                          bool from_scratch) {
  ASSIGN_OR_RETURN(const auto checkpoints, context.tables.ListCheckpoints(failed.number));
  if (!from_scratch && !checkpoints.empty()) return StartingPoint{failed, checkpoints[0]};
  return FindStart(context, resolved);
}

absl::Status ChangeLabels(const JobUpdate& update, v1::Job& job) {
  auto& labels = *job.mutable_labels();
  if (update.clear_labels) labels.clear();
  for (const auto& [key, value] : update.labels) {
    if (value) {
      labels[key] = *value;
    } else {
      labels.erase(key);
    }
  }
  if (labels.size() <= kMaxLabels) return absl::OkStatus();
  return FieldViolation(
      "job.labels",
      absl::StrCat("would have ", labels.size(), " entries; at most ", kMaxLabels, " are allowed"));
}

absl::StatusOr<v1::Job> Retry(VerbContext& context, absl::string_view name, bool from_scratch) {
  ASSIGN_OR_RETURN(const JobRow failed, RequireJob(context, name));
  const v1::JobState state = failed.job.state();
  if (state != v1::JOB_STATE_FAILED && state != v1::JOB_STATE_CANCELLED) {
    return WrongState(failed, WhyNotRetried(state));
  }
  ASSIGN_OR_RETURN(v1::Job specs, context.tables.ReadSpecs(failed.number));
  RETURN_IF_ERROR(CheckInsertion(context, specs.resolved_spec()));
  ASSIGN_OR_RETURN(const auto start,
                   StartOfRetry(context, failed, specs.resolved_spec(), from_scratch));

  JobRow row;
  row.job.set_display_name(failed.job.display_name());
  *row.job.mutable_labels() = failed.job.labels();
  row.job.set_priority(failed.job.priority());
  row.job.set_study(failed.job.study());
  *row.job.mutable_warnings() = failed.job.warnings();
  row.job.set_retry_of(failed.job.name());
  row.job.set_allow_migration(failed.job.allow_migration());
  row.needs = NeedsOf(specs.resolved_spec());
  std::string how = "begins anew";
  if (start) {
    how = BeginAt(*start, row);
    row.job.set_total_steps(failed.job.total_steps());
  }
  ASSIGN_OR_RETURN(v1::Job job,
                   InsertQueued(context, row, std::move(specs),
                                absl::StrCat("retry of ", failed.job.name(), "; ", how)));
  if (start) RETURN_IF_ERROR(GiveCheckpoint(context, *start, row));
  return job;
}

}  // namespace

absl::StatusOr<v1::Job> DoCancelJob(VerbContext& context, absl::string_view name,
                                    const RequestKey& request) {
  return ChangeOnce(context, kCancelVerb, request, name,
                    [&](JobRow& row) { return Cancel(context, row, /*saves=*/false); });
}

absl::StatusOr<v1::Job> DoSaveAndCancelJob(VerbContext& context, absl::string_view name,
                                           const RequestKey& request) {
  return ChangeOnce(context, kCancelVerb, request, name,
                    [&](JobRow& row) { return Cancel(context, row, /*saves=*/true); });
}

absl::StatusOr<v1::Job> DoPauseJob(VerbContext& context, absl::string_view name,
                                   const RequestKey& request) {
  return ChangeOnce(context, kPauseVerb, request, name,
                    [&](JobRow& row) { return Pause(context, row); });
}

absl::StatusOr<v1::Job> DoResumeJob(VerbContext& context, absl::string_view name,
                                    const RequestKey& request) {
  return ChangeOnce(context, kResumeVerb, request, name, [&](JobRow& row) -> absl::Status {
    if (row.job.state() != v1::JOB_STATE_PAUSED) {
      return WrongState(row, WhyNotResumed(row.job.state()));
    }
    if (IsAtRung(row.job)) {
      return WrongState(row, absl::StrCat("it is at a rung of its study, which decides whether it "
                                          "goes on: ",
                                          row.job.trial()));
    }
    return Resume(context, row);
  });
}

absl::StatusOr<v1::Job> DoCheckpointJob(VerbContext& context, absl::string_view name,
                                        const RequestKey& request) {
  return ChangeOnce(context, kCheckpointVerb, request, name, [&](JobRow& row) {
    if (row.job.state() == v1::JOB_STATE_PAUSING) {
      return WrongState(row, "it saves its state before it is PAUSED");
    }
    if (row.job.state() != v1::JOB_STATE_RUNNING) {
      return WrongState(row, "only a RUNNING job has a state to save");
    }
    if (!row.output) return WrongState(row, "an evaluation saves by itself, every minute");
    if (row.job.requested_checkpoint_step() > 0) return absl::OkStatus();
    row.job.set_requested_checkpoint_step(row.job.step() + 1);
    return SaveJob(context, row, row.job.state());
  });
}

absl::StatusOr<v1::Job> DoRetryJob(VerbContext& context, absl::string_view name, bool from_scratch,
                                   const RequestKey& request) {
  return AnswerOnce(context, kRetryVerb, request,
                    [&] { return Retry(context, name, from_scratch); });
}

absl::StatusOr<v1::Job> DoUpdateJob(VerbContext& context, absl::string_view name,
                                    const JobUpdate& update, const RequestKey& request) {
  return ChangeOnce(context, kUpdateVerb, request, name, [&](JobRow& row) -> absl::Status {
    if (!update.etag.empty() && update.etag != row.job.etag()) {
      return WithReason(
          absl::AbortedError(absl::StrCat(row.job.name(), " has the etag ", row.job.etag(),
                                          " by now, not ", update.etag, "; read it again")),
          kReasonVersionChanged);
    }
    if ((update.priority || update.deadline || update.allow_migration) && row.job.done()) {
      return WrongState(
          row, "priority, deadline and allow_migration of a job that is done cannot be changed");
    }
    if (update.display_name) row.job.set_display_name(*update.display_name);
    if (update.priority) row.job.set_priority(*update.priority);
    if (update.deadline == absl::InfiniteFuture()) {
      row.job.clear_deadline();
    } else if (update.deadline) {
      RETURN_IF_ERROR(CheckDeadline(context, *update.deadline));
      *row.job.mutable_deadline() = ToTimestamp(*update.deadline);
    }
    if (update.allow_migration) {
      row.job.set_allow_migration(*update.allow_migration);
      ASSIGN_OR_RETURN(row.needs, NeedsNow(context, row));
    }
    RETURN_IF_ERROR(ChangeLabels(update, row.job));
    RETURN_IF_ERROR(context.tables.UpdateJobKeys(row));
    RETURN_IF_ERROR(SaveJob(context, row, row.job.state()));
    context.changes.back().schedule_changed =
        update.priority || update.deadline || update.allow_migration;
    return absl::OkStatus();
  });
}

bool IsAtRung(const v1::Job& job) {
  return job.pause_at_step() > 0 && job.step() >= job.pause_at_step();
}

absl::Status ResumeTrialJob(VerbContext& context, absl::string_view name,
                            std::optional<int64_t> pause_at_step) {
  ASSIGN_OR_RETURN(auto row, FindTrialJob(context, name));
  if (!row || row->job.state() != v1::JOB_STATE_PAUSED) return absl::OkStatus();
  if (pause_at_step) row->job.set_pause_at_step(*pause_at_step);
  return IsAtRung(row->job) ? absl::OkStatus() : Resume(context, *row);
}

absl::Status PauseTrialJob(VerbContext& context, absl::string_view name) {
  ASSIGN_OR_RETURN(auto row, FindTrialJob(context, name));
  const bool may = row && (row->job.state() == v1::JOB_STATE_QUEUED ||
                           row->job.state() == v1::JOB_STATE_RUNNING);
  return may ? Pause(context, *row) : absl::OkStatus();
}

absl::Status CancelTrialJob(VerbContext& context, absl::string_view name) {
  ASSIGN_OR_RETURN(auto row, FindTrialJob(context, name));
  return row ? Cancel(context, *row, /*saves=*/false) : absl::OkStatus();
}

}  // namespace graft
