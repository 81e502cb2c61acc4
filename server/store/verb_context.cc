#include "server/store/verb_context.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "common/jobs/timestamps.h"
#include "server/store/checkpoint_policy.h"

namespace graft {

absl::StatusOr<JobRow> RequireJob(VerbContext& context, absl::string_view name) {
  ASSIGN_OR_RETURN(const std::string id, ParseJobId(name));
  ASSIGN_OR_RETURN(std::optional<JobRow> row, context.tables.FindJob(id));
  if (!row) return absl::NotFoundError(absl::StrCat("there is no job ", JobName(id)));
  return *std::move(row);
}

absl::StatusOr<JobRow> RequireJob(VerbContext& context, int64_t number) {
  ASSIGN_OR_RETURN(std::optional<JobRow> row, context.tables.FindJob(number));
  if (!row) return absl::InternalError(absl::StrCat("a row names the missing job ", number));
  return *std::move(row);
}

absl::StatusOr<v1::Job> WholeJob(VerbContext& context, const JobRow& row) {
  v1::Job job = row.job;
  job.set_method(row.method);
  ASSIGN_OR_RETURN(v1::Job specs, context.tables.ReadSpecs(row.number));
  job.mutable_spec()->Swap(specs.mutable_spec());
  job.mutable_resolved_spec()->Swap(specs.mutable_resolved_spec());
  ASSIGN_OR_RETURN(std::vector<AttemptRow> attempts, context.tables.ListAttempts(row.number));
  for (AttemptRow& attempt : attempts) {
    attempt.attempt.set_name(absl::StrCat(job.name(), "/attempts/", attempt.attempt.number()));
    *job.add_attempts() = std::move(attempt.attempt);
  }
  return job;
}

void NumberEvent(VerbContext& context, JobRow& row, v1::JobEvent& event) {
  row.job.set_last_sequence(row.job.last_sequence() + 1);
  event.set_sequence(row.job.last_sequence());
  event.set_attempt(row.job.attempt());
  if (!event.has_create_time()) *event.mutable_create_time() = ToTimestamp(context.Now());
}

absl::Status AddEvent(VerbContext& context, JobRow& row, v1::JobEvent event) {
  NumberEvent(context, row, event);
  return context.tables.AppendEvent(row.number, event);
}

absl::StatusOr<std::string> HowItGoesOn(VerbContext& context, const JobRow& row) {
  ASSIGN_OR_RETURN(const auto checkpoints, context.tables.ListCheckpoints(row.number));
  if (checkpoints.empty()) return "begins again";
  return absl::StrCat("resumes from ", UnitOf(row), " ", checkpoints[0].step);
}

absl::Status SetState(VerbContext& context, JobRow& row, v1::JobState to,
                      const ChangeReason& reason) {
  ASSIGN_OR_RETURN(v1::JobEvent event, ChangeState(row.job, to, reason, context.Now()));
  context.failure_class = reason.failure_class;
  if (to != v1::JOB_STATE_RUNNING) row.job.clear_preempted_by();
  if (row.job.done()) {
    row.done_since = context.running_time;
    row.end_marked = context.options.mark_ends;
    RETURN_IF_ERROR(KeepCheckpointsOfDone(context, row));
  }
  return AddEvent(context, row, std::move(event));
}

absl::Status BecomePaused(VerbContext& context, JobRow& row, ChangeReason ended) {
  ASSIGN_OR_RETURN(const auto checkpoints, context.tables.ListCheckpoints(row.number));
  row.job.set_step(checkpoints.empty() ? 0 : checkpoints[0].step);
  ended.text = absl::StrCat(
      checkpoints.empty() ? "paused; it begins anew when it is resumed"
                          : absl::StrCat("paused after ", UnitOf(row), " ", checkpoints[0].step),
      ended.text.empty() ? "" : "; ", ended.text);
  return SetState(context, row, v1::JOB_STATE_PAUSED, ended);
}

void NewVersion(VerbContext& context, JobRow& row) {
  ++row.version;
  row.job.set_etag(absl::StrCat(row.version));
  *row.job.mutable_update_time() = ToTimestamp(context.Now());
}

absl::Status SaveJob(VerbContext& context, JobRow& row, v1::JobState previous,
                     const LeaseRow* lease) {
  NewVersion(context, row);
  RETURN_IF_ERROR(context.tables.UpdateJob(row));
  NoteChange(context, row, previous, lease);
  return absl::OkStatus();
}

void NoteChange(VerbContext& context, const JobRow& row, v1::JobState previous,
                const LeaseRow* lease) {
  JobChange change;
  change.job = row.job.name();
  change.state = row.job.state();
  change.previous_state = previous;
  change.last_sequence = row.job.last_sequence();
  change.trial = row.job.trial();
  change.cancel_saves = row.job.cancel_saves();
  if (change.state != previous) {
    change.reason = row.job.state_reason();
    change.attempt = row.job.attempt();
    change.failure_class = context.failure_class;
  }
  if (lease != nullptr) {
    change.worker = lease->worker.id;
    change.lease_epoch = lease->lease_epoch;
  }
  context.changes.push_back(std::move(change));
}

absl::Status SaveJob(VerbContext& context, JobRow& row, v1::JobState previous) {
  ASSIGN_OR_RETURN(const auto lease, context.tables.FindLease(row.number));
  return SaveJob(context, row, previous, lease ? &*lease : nullptr);
}

void NoteAttempt(VerbContext& context, const AttemptRow& attempt, AttemptEnd end) {
  JobChange& change = context.changes.back();
  change.holder = attempt.worker;
  change.progressed = attempt.progressed;
  change.end = end;
}

absl::Status StaleLease(const LeaseRef& lease) {
  return WithReason(absl::FailedPreconditionError(
                        absl::StrCat("worker ", lease.worker.id, " does not hold ", lease.job,
                                     " under lease epoch ", lease.lease_epoch, " any more")),
                    kReasonStaleLease);
}

absl::StatusOr<HeldJob> RequireLease(VerbContext& context, const LeaseRef& ref) {
  ASSIGN_OR_RETURN(const std::string id, ParseJobId(ref.job, "job"));
  ASSIGN_OR_RETURN(std::optional<JobRow> row, context.tables.FindJob(id));
  if (!row) return StaleLease(ref);
  ASSIGN_OR_RETURN(std::optional<LeaseRow> lease, context.tables.FindLease(row->number));
  if (!lease || lease->lease_epoch != ref.lease_epoch || lease->worker.id != ref.worker.id ||
      lease->worker.instance != ref.worker.instance) {
    return StaleLease(ref);
  }
  return HeldJob{*std::move(row), *std::move(lease)};
}

absl::StatusOr<bool> FindAnswer(VerbContext& context, absl::string_view verb, const RequestKey& key,
                                google::protobuf::Message& answer) {
  if (key.id.empty()) return false;
  ASSIGN_OR_RETURN(const std::optional<RequestRow> row, context.tables.FindRequest(verb, key.id));
  if (!row) return false;
  if (row->body_sha256 != key.body_sha256) {
    return WithReason(absl::AlreadyExistsError(absl::StrCat(
                          "request_id ", key.id, " was used for another ", verb, " request")),
                      kReasonRequestIdReused);
  }
  if (!answer.ParseFromString(row->answer)) {
    return absl::DataLossError(
        absl::StrCat("the answer kept for request_id ", key.id, " does not parse"));
  }
  return true;
}

absl::Status KeepAnswer(VerbContext& context, absl::string_view verb, const RequestKey& key,
                        const google::protobuf::Message& answer) {
  if (key.id.empty()) return absl::OkStatus();
  return context.tables.PutRequest({std::string(verb), key.id, key.body_sha256,
                                    answer.SerializeAsString(), context.Now(),
                                    context.running_time});
}

const char* UnitOf(const JobRow& row) { return row.output ? "step" : "row"; }

std::string CheckpointHolder(int64_t job, int64_t step) { return absl::StrCat(job, "/", step); }

}  // namespace graft
