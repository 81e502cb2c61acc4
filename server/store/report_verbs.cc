#include "server/store/report_verbs.h"

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "common/jobs/trained_with.h"
#include "server/store/catalogue_verbs.h"
#include "server/store/checkpoint_policy.h"
#include "server/store/checkpoint_verbs.h"
#include "server/store/event_log.h"
#include "server/store/failures.h"
#include "server/store/lease_verbs.h"
#include "server/store/needs.h"

namespace graft {
namespace {

absl::StatusOr<AttemptRow> RequireAttempt(VerbContext& context, int64_t job, int32_t number) {
  ASSIGN_OR_RETURN(std::optional<AttemptRow> row, context.tables.FindAttempt(job, number));
  if (!row) return absl::InternalError(absl::StrCat("attempt ", number, " has no row"));
  return *std::move(row);
}

absl::Status CheckFiles(absl::Span<const v1::Artifact> files, absl::string_view field) {
  if (files.size() > kMaxFilesPerManifest) {
    return FieldViolation(field, absl::StrCat("has ", files.size(), " files; at most ",
                                              kMaxFilesPerManifest, " are allowed"));
  }
  for (const v1::Artifact& file : files) {
    if (!file.path().empty() && file.size_bytes() >= 0 && IsSha256Hex(file.sha256())) continue;
    return FieldViolation(field, "each file needs a path, a size and a SHA-256");
  }
  return absl::OkStatus();
}

bool SameFiles(absl::Span<const v1::Artifact> a, absl::Span<const v1::Artifact> b) {
  return std::equal(
      a.begin(), a.end(), b.begin(), b.end(), [](const v1::Artifact& x, const v1::Artifact& y) {
        return x.path() == y.path() && x.size_bytes() == y.size_bytes() && x.sha256() == y.sha256();
      });
}

// Whether the attempt has done more than to begin.
bool ShowsProgress(const EventBatch& batch, const v1::Attempt& attempt) {
  const bool rows = batch.stage == v1::JOB_STAGE_EVALUATING && batch.stage_done > 0;
  if (rows || batch.step > attempt.resumed_from_step()) return true;
  return std::any_of(batch.events.begin(), batch.events.end(), [](const v1::JobEvent& event) {
    return event.has_metrics() || event.has_evaluation() || event.has_samples();
  });
}

// Rows of an evaluation that no attempt has done before are progress like a newer checkpoint.
void NoteEvaluated(const EventBatch& batch, JobRow& row) {
  if (batch.stage != v1::JOB_STAGE_EVALUATING || batch.stage_done <= 0) return;
  const std::pair now(batch.step, batch.stage_done);
  if (now <= std::pair(row.evaluated_step, row.evaluated_rows)) return;
  std::tie(row.evaluated_step, row.evaluated_rows) = now;
  ForgetFailures(row);
}

void NoteProgress(const EventBatch& batch, v1::Job& job) {
  if (batch.stage == v1::JOB_STAGE_UNSPECIFIED) return;
  job.set_stage(batch.stage);
  job.set_step(batch.step);
  if (batch.total_steps > 0) job.set_total_steps(batch.total_steps);  // 0: not known yet.
  job.set_epoch(batch.epoch);
  job.set_eta_seconds(batch.eta_seconds);
  job.set_stage_done(batch.stage_done);
  job.set_stage_total(batch.stage_total);
}

int64_t TotalSize(const google::protobuf::RepeatedPtrField<v1::Artifact>& files) {
  int64_t sum = 0;
  for (const v1::Artifact& file : files) sum += file.size_bytes();
  return sum;
}

absl::Status PublishOutput(VerbContext& context, const JobRow& row,
                           const AttemptSucceeded& succeeded, v1::JobResult& result) {
  if (!row.output) return absl::OkStatus();
  if (row.output->kind == ResourceKind::kModel) {
    if (!succeeded.model) return absl::OkStatus();
    v1::Model model = *succeeded.model;
    model.set_name(row.output->name);
    model.set_job(row.job.name());
    model.set_size_bytes(TotalSize(model.files()));
    result.set_model(model.name());
    return PublishModel(context, model);
  }
  if (!succeeded.adapter) return absl::OkStatus();
  ASSIGN_OR_RETURN(const v1::Job specs, context.tables.ReadSpecs(row.number));
  const v1::FineTuneSpec& spec = specs.resolved_spec().fine_tune();
  v1::Adapter adapter = *succeeded.adapter;
  adapter.set_name(row.output->name);
  adapter.set_job(row.job.name());
  adapter.set_base_model(spec.base_model());
  adapter.set_base_model_sha256(spec.base_model_sha256());
  *adapter.mutable_method() = spec.method();
  *adapter.mutable_trained_with() = TrainedWith(spec.data());
  adapter.set_size_bytes(TotalSize(adapter.files()));
  adapter.set_trainable_parameters(result.trainable_parameters());
  *adapter.mutable_metrics() = result.metrics();
  result.set_adapter(adapter.name());
  result.set_adapter_size_bytes(adapter.size_bytes());
  return PublishAdapter(context, adapter);
}

absl::Status Succeed(VerbContext& context, JobRow& row, const AttemptSucceeded& succeeded) {
  RETURN_IF_ERROR(CheckFiles(succeeded.artifacts, "artifacts"));
  if (succeeded.adapter) {
    const auto& files = succeeded.adapter->files();
    RETURN_IF_ERROR(CheckFiles(std::vector<v1::Artifact>(files.begin(), files.end()), "output"));
  }
  v1::JobResult result = succeeded.result;
  result.clear_adapter();
  result.clear_model();
  RETURN_IF_ERROR(PublishOutput(context, row, succeeded, result));
  RETURN_IF_ERROR(
      context.tables.PutFiles(HolderKind::kJob, absl::StrCat(row.number), succeeded.artifacts));
  *row.job.mutable_result() = std::move(result);
  return SetState(context, row, v1::JOB_STATE_SUCCEEDED, {"done"});
}

absl::Status Fail(VerbContext& context, JobRow& row, const AttemptFailed& failed,
                  absl::Duration ran) {
  if (failed.failure_class == v1::FAILURE_CLASS_INFRASTRUCTURE) {
    return LoseAttempt(context, row, {failed.error, failed.cause, ran});
  }
  return SetState(context, row, v1::JOB_STATE_FAILED,
                  {failed.error.message(), failed.error, failed.failure_class});
}

// A worker that stops before its job is done gives it back.
absl::Status GiveBack(VerbContext& context, JobRow& row, absl::Duration ran) {
  google::rpc::Status error;
  error.set_code(static_cast<int>(absl::StatusCode::kCancelled));
  error.set_message("the worker gave the job back");
  return LoseAttempt(context, row, {error, "given back", ran});
}

// The server could not give it out.
absl::Status NotGivenOut(VerbContext& context, JobRow& row, const google::rpc::Status& error) {
  RETURN_IF_ERROR(
      LoseAttemptAnywhere(context, row,
                          {absl::StrCat("the server could not give it out: ", error.message()),
                           error, v1::FAILURE_CLASS_INFRASTRUCTURE},
                          error));
  if (row.job.done()) return absl::OkStatus();
  const absl::Duration pause =
      std::max(context.options.pause_after_return, RetryDelay(context.options, row));
  context.NotBefore(row.number, context.Boottime() + pause);
  return absl::OkStatus();
}

// The job stands where its newest checkpoint is. Says so: "resumes from step 12".
absl::StatusOr<std::string> BackToCheckpoint(VerbContext& context, JobRow& row) {
  ASSIGN_OR_RETURN(const auto checkpoints, context.tables.ListCheckpoints(row.number));
  row.job.set_step(checkpoints.empty() ? 0 : checkpoints[0].step);
  return HowItGoesOn(context, row);
}

// Its state is saved; the job that it makes way for has a higher priority, and is offered first.
absl::Status MakeWay(VerbContext& context, JobRow& row) {
  ASSIGN_OR_RETURN(const std::string how, BackToCheckpoint(context, row));
  return SetState(context, row, v1::JOB_STATE_QUEUED,
                  {absl::StrCat("PREEMPTED: made way for ", row.job.preempted_by(), "; ", how)});
}

// A worker that cannot do it hands it back: another may.
absl::Status Return(VerbContext& context, JobRow& row, const LeaseRow& lease,
                    const AttemptReturned& returned) {
  context.NotBefore(row.number, context.Boottime() + context.options.pause_after_return);
  ASSIGN_OR_RETURN(const std::string how, BackToCheckpoint(context, row));
  return SetState(context, row, v1::JOB_STATE_QUEUED,
                  {absl::StrCat("handed back by worker ", lease.worker.id, ": ",
                                returned.reason.message(), "; ", how)});
}

const google::rpc::Status* ErrorOf(const AttemptOutcome& outcome) {
  if (const auto* failed = std::get_if<AttemptFailed>(&outcome)) return &failed->error;
  if (const auto* returned = std::get_if<AttemptReturned>(&outcome)) return &returned->reason;
  return nullptr;
}

// What the end of the attempt makes of the job. `dropped`: its checkpoint.
absl::Status Conclude(VerbContext& context, HeldJob& held, const AttemptOutcome& outcome,
                      bool dropped) {
  JobRow& row = held.row;
  const absl::Duration ran = RunTime(context, held.lease);
  if (const auto* succeeded = std::get_if<AttemptSucceeded>(&outcome)) {
    return Succeed(context, row, *succeeded);
  }
  const auto* failed = std::get_if<AttemptFailed>(&outcome);
  if (failed != nullptr && !dropped) return Fail(context, row, *failed, ran);
  if (row.job.state() == v1::JOB_STATE_CANCELLING) {
    return SetState(context, row, v1::JOB_STATE_CANCELLED, {"cancelled"});
  }
  if (row.job.state() == v1::JOB_STATE_PAUSING) {
    const google::rpc::Status* error = ErrorOf(outcome);
    return BecomePaused(context, row, {error == nullptr ? "" : error->message()});
  }
  if (dropped) return GoOnFromEarlier(context, row, *ErrorOf(outcome));
  const bool paused = std::holds_alternative<AttemptPaused>(outcome);
  if (paused && !row.job.preempted_by().empty()) return MakeWay(context, row);
  if (paused && row.job.pause_at_step() > 0) {
    return BecomePaused(context, row, {"to wait for its study"});
  }
  if (const auto* returned = std::get_if<AttemptReturned>(&outcome)) {
    return returned->by_server ? NotGivenOut(context, row, returned->reason)
                               : Return(context, row, held.lease, *returned);
  }
  return GiveBack(context, row, ran);
}

// What became of the attempt, for people. `job` as it was before.
v1::AttemptOutcome OutcomeOf(const AttemptOutcome& outcome, const v1::Job& job) {
  if (std::holds_alternative<AttemptSucceeded>(outcome)) return v1::ATTEMPT_OUTCOME_SUCCEEDED;
  if (std::holds_alternative<AttemptFailed>(outcome)) return v1::ATTEMPT_OUTCOME_FAILED;
  if (std::holds_alternative<AttemptReturned>(outcome)) return v1::ATTEMPT_OUTCOME_RETURNED;
  if (job.state() == v1::JOB_STATE_CANCELLING) return v1::ATTEMPT_OUTCOME_CANCELLED;
  if (job.state() == v1::JOB_STATE_PAUSING) return v1::ATTEMPT_OUTCOME_PAUSED;
  if (!job.preempted_by().empty()) return v1::ATTEMPT_OUTCOME_PREEMPTED;
  const bool waits = std::holds_alternative<AttemptPaused>(outcome) && job.pause_at_step() > 0;
  return waits ? v1::ATTEMPT_OUTCOME_PAUSED : v1::ATTEMPT_OUTCOME_RETURNED;
}

AttemptEnd EndOf(const AttemptOutcome& outcome) {
  if (const auto* failed = std::get_if<AttemptFailed>(&outcome)) {
    return failed->failure_class == v1::FAILURE_CLASS_INFRASTRUCTURE ? AttemptEnd::kInfrastructure
                                                                     : AttemptEnd::kOther;
  }
  if (const auto* returned = std::get_if<AttemptReturned>(&outcome)) {
    if (returned->by_server || returned->bystander) return AttemptEnd::kOther;
    return returned->worker_fault ? AttemptEnd::kWorkerFault : AttemptEnd::kReturned;
  }
  return AttemptEnd::kOther;
}

// The state after an attempt whose end was reported before, if `ref` is that attempt's.
absl::StatusOr<v1::JobState> AnswerAgain(VerbContext& context, const LeaseRef& ref) {
  ASSIGN_OR_RETURN(const std::string id, ParseJobId(ref.job, "job"));
  ASSIGN_OR_RETURN(const std::optional<JobRow> row, context.tables.FindJob(id));
  if (!row) return StaleLease(ref);
  ASSIGN_OR_RETURN(const auto attempt, context.tables.FindAttempt(row->number, row->job.attempt()));
  if (!attempt || !attempt->end_reported || attempt->lease_epoch != ref.lease_epoch ||
      attempt->worker.id != ref.worker.id || attempt->worker.instance != ref.worker.instance) {
    return StaleLease(ref);
  }
  return row->job.state();
}

}  // namespace

absl::StatusOr<int64_t> DoAppendEvents(VerbContext& context, const LeaseRef& lease,
                                       const EventBatch& batch) {
  RETURN_IF_ERROR(CheckBatch(batch));
  ASSIGN_OR_RETURN(HeldJob held, RequireLease(context, lease));
  JobRow& row = held.row;
  context.makes_room = row.job.state() == v1::JOB_STATE_CANCELLING;
  ASSIGN_OR_RETURN(AttemptRow attempt, RequireAttempt(context, row.number, held.lease.attempt));
  if (batch.number != attempt.last_batch + 1) return attempt.last_batch;
  for (const v1::JobEvent& event : batch.events) {
    RETURN_IF_ERROR(LogEvent(context, row, attempt, event));
  }
  NoteProgress(batch, row.job);
  NoteEvaluated(batch, row);
  const bool first_progress = !attempt.progressed && ShowsProgress(batch, attempt.attempt);
  attempt.progressed |= first_progress;
  attempt.last_batch = batch.number;
  RETURN_IF_ERROR(context.tables.PutAttempt(attempt));
  RETURN_IF_ERROR(SaveJob(context, row, row.job.state(), &held.lease));
  if (first_progress) NoteAttempt(context, attempt, AttemptEnd::kNone);
  return attempt.last_batch;
}

namespace {

// Of the attempt's first checkpoint: what it computes with.
absl::Status NoteExecution(VerbContext& context, const HeldJob& held,
                           const v1::Execution& execution) {
  ASSIGN_OR_RETURN(AttemptRow attempt,
                   RequireAttempt(context, held.row.number, held.lease.attempt));
  if (attempt.attempt.has_execution()) return absl::OkStatus();
  *attempt.attempt.mutable_execution() = execution;
  return context.tables.PutAttempt(attempt);
}

}  // namespace

absl::Status DoCommitCheckpoint(VerbContext& context, const LeaseRef& lease,
                                const NewCheckpoint& checkpoint) {
  const int64_t step = checkpoint.step;
  const std::vector<v1::Artifact>& files = checkpoint.files;
  if (step < 1) return FieldViolation("step", "must be 1 or greater");
  if (files.empty()) return FieldViolation("files", "a checkpoint has at least one file");
  RETURN_IF_ERROR(CheckFiles(files, "files"));
  ASSIGN_OR_RETURN(HeldJob held, RequireLease(context, lease));
  JobRow& row = held.row;
  const std::string holder = CheckpointHolder(row.number, step);
  ASSIGN_OR_RETURN(const auto present, context.tables.ListFiles(HolderKind::kCheckpoint, holder));
  if (SameFiles(present, files)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto checkpoints, context.tables.ListCheckpoints(row.number));
  CheckpointRow made = {.step = step,
                        .attempt = held.lease.attempt,
                        .needs = row.needs,
                        .create_time = context.Now()};
  if (!checkpoint.execution.device().empty()) {
    made.needs = NeedsOf(checkpoint.execution, row.needs);
    RETURN_IF_ERROR(NoteExecution(context, held, checkpoint.execution));
  }
  for (const CheckpointRow& earlier : checkpoints) {
    if (earlier.step != step) continue;
    made.pinned = earlier.pinned;
    made.create_time = earlier.create_time;
  }
  if (step >= row.job.requested_checkpoint_step()) row.job.clear_requested_checkpoint_step();
  if (step > row.saved_step) {
    ForgetFailures(row);
    row.saved_step = step;
  }
  RETURN_IF_ERROR(context.tables.PutCheckpoint(row.number, made));
  ASSIGN_OR_RETURN(row.needs, NeedsNow(context, row));
  RETURN_IF_ERROR(context.tables.PutFiles(HolderKind::kCheckpoint, holder, files));
  if (!present.empty()) {
    // The log has it: what is new is the evaluation of its step.
    return SaveJob(context, row, row.job.state(), &held.lease);
  }
  ASSIGN_OR_RETURN(const v1::Job specs, context.tables.ReadSpecs(row.number));
  RETURN_IF_ERROR(DropOldCheckpoints(context, row.number, specs.resolved_spec()));
  v1::JobEvent event;
  event.mutable_checkpoint()->set_step(step);
  for (const v1::Artifact& file : files) {
    event.mutable_checkpoint()->set_size_bytes(event.checkpoint().size_bytes() + file.size_bytes());
  }
  RETURN_IF_ERROR(AddEvent(context, row, std::move(event)));
  return SaveJob(context, row, row.job.state(), &held.lease);
}

absl::StatusOr<v1::JobState> DoFinishAttempt(VerbContext& context, const LeaseRef& lease,
                                             int64_t last_batch, const AttemptOutcome& outcome) {
  absl::StatusOr<HeldJob> held = RequireLease(context, lease);
  if (ReasonOf(held.status()) == kReasonStaleLease) return AnswerAgain(context, lease);
  RETURN_IF_ERROR(held.status());
  JobRow& row = held->row;
  context.makes_room = row.job.state() == v1::JOB_STATE_CANCELLING;
  ASSIGN_OR_RETURN(const AttemptRow attempt,
                   RequireAttempt(context, row.number, held->lease.attempt));
  if (attempt.last_batch < last_batch) {
    return WithReason(absl::FailedPreconditionError(
                          absl::StrCat("event batches are stored up to ", attempt.last_batch,
                                       "; the attempt cannot end before batch ", last_batch)),
                      kReasonEventsMissing);
  }
  const v1::JobState previous = row.job.state();
  RETURN_IF_ERROR(context.tables.DeleteLease(row.number));
  context.ForgetTimes(row.number);
  RETURN_IF_ERROR(EndAttempt(context, row, attempt.attempt.number(),
                             {OutcomeOf(outcome, row.job), ErrorOf(outcome), /*reported=*/true})
                      .status());
  bool dropped = false;
  if (const google::rpc::Status* error = ErrorOf(outcome)) {
    ASSIGN_OR_RETURN(dropped, DropCorruptCheckpoint(context, row, *error));
  }
  RETURN_IF_ERROR(Conclude(context, *held, outcome, dropped));
  RETURN_IF_ERROR(SaveJob(context, row, previous, &held->lease));
  NoteAttempt(context, attempt, dropped ? AttemptEnd::kOther : EndOf(outcome));
  return row.job.state();
}

}  // namespace graft
