// What workers report of the attempts that they hold.

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/errors/status_details.h"
#include "tests/server/simulation/model.h"
#include "tests/server/simulation/text.h"

namespace graft::simulation {

void Model::SetState(ModelJob& job, v1::JobState to) {
  job.state = to;
  if (to != v1::JOB_STATE_RUNNING) {
    job.preempted_by.clear();
    job.requested_step = 0;
  }
  if (to != v1::JOB_STATE_CANCELLING) job.cancel_saves = false;
  if (!IsHeldState(to)) {
    job.stage = v1::JOB_STAGE_UNSPECIFIED;
    job.rows = 0;
    job.not_before = absl::ZeroDuration();
  }
  if (IsDoneState(to)) {
    job.done_since = now();
    job.end_marked = options_.mark_ends;
    KeepCheckpointsOfDone(job);
    placement_.Forget(job.name);
  }
  job.log.push_back("state " + Text(to));
}

// Those that are pinned; the newest, to be gone on from; none of an evaluation that succeeded.
void Model::KeepCheckpointsOfDone(ModelJob& job) {
  if (job.state == v1::JOB_STATE_SUCCEEDED && job.submission.evaluate) {
    job.checkpoints.clear();
    return;
  }
  const int64_t newest = job.newest_step();
  std::erase_if(job.checkpoints,
                [&](const auto& each) { return !each.second.pinned && each.first != newest; });
  for (auto& [step, checkpoint] : job.checkpoints) {
    if (!checkpoint.pinned) checkpoint.kept_since = now();
  }
}

void Model::BackToCheckpoint(ModelJob& job) { job.step = job.newest_step(); }

// Bound to what its newest checkpoint was computed with.
JobNeeds Model::NeedsNow(const ModelJob& job) {
  if (job.checkpoints.empty() || job.submission.allow_migration) return job.submission.needs;
  return job.checkpoints.begin()->second.needs;
}

Answer Model::Append(const LeaseRef& lease, const EventBatch& batch) {
  ModelJob* job = Held(lease);
  if (job == nullptr) return StaleLease();
  ModelAttempt& attempt = job->attempt();
  if (batch.number != attempt.last_batch + 1) return {.value = Text(attempt.last_batch)};
  attempt.last_batch = batch.number;
  bool progress = false;
  for (const v1::JobEvent& event : batch.events) {
    Log(*job, event);
    progress |= event.has_metrics() || event.has_evaluation();
  }
  if (batch.stage != v1::JOB_STAGE_UNSPECIFIED) {
    job->stage = batch.stage;
    job->step = batch.step;
    job->rows = batch.stage_done;
  }
  progress |= batch.step > attempt.resumed_from;
  if (batch.stage == v1::JOB_STAGE_EVALUATING && batch.stage_done > 0) {
    progress = true;
    const std::pair came_to(batch.step, batch.stage_done);
    if (came_to > std::pair(job->evaluated_step, job->evaluated_rows)) {
      std::tie(job->evaluated_step, job->evaluated_rows) = came_to;
      ForgetFailures(*job);
    }
  }
  if (progress && !attempt.progressed) {
    attempt.progressed = true;
    placement_.Progressed(attempt.worker, job->name);
  }
  return {.value = Text(attempt.last_batch)};
}

void Model::Log(ModelJob& job, const v1::JobEvent& event) {
  if (event.has_metrics()) {
    const auto& values = event.metrics().values();
    LogMetrics(job, event.metrics().step(), {values.begin(), values.end()});
  } else if (event.has_evaluation()) {
    const auto& values = event.evaluation().values();
    LogEvaluation(job, event.evaluation().step(), {values.begin(), values.end()});
  } else {
    if (event.has_stage_change()) job.stage = event.stage_change().stage();
    job.log.push_back(Text(event));
  }
}

void Model::WarnOfDifference(ModelJob& job) {
  if (job.attempt().difference_logged) return;
  job.attempt().difference_logged = true;
  job.log.push_back("warning METRICS_DIFFER");
}

// A number that the log has is compared and dropped.
void Model::LogMetrics(ModelJob& job, int64_t step, const std::map<std::string, double>& values) {
  const bool first_of_step = !job.metrics.contains(step);
  std::map<std::string, double>& logged = job.metrics[step];
  std::map<std::string, double> fresh;
  for (const auto& [metric, value] : values) {
    const auto [place, is_new] = logged.emplace(metric, value);
    if (is_new) {
      fresh[metric] = value;
    } else if (place->second != value && !absl::EndsWith(metric, "_per_second")) {
      WarnOfDifference(job);
    }
  }
  if (first_of_step || !fresh.empty()) job.log.push_back(MetricsText("metrics", step, fresh));
}

// Whole, once for a step.
void Model::LogEvaluation(ModelJob& job, int64_t step,
                          const std::map<std::string, double>& values) {
  const auto logged = job.evaluations.find(step);
  if (logged == job.evaluations.end()) {
    job.evaluations[step] = values;
    job.log.push_back(MetricsText("evaluation", step, values));
    return;
  }
  for (const auto& [metric, value] : values) {
    const auto before = logged->second.find(metric);
    if (before != logged->second.end() && before->second != value) WarnOfDifference(job);
  }
}

Answer Model::Commit(const LeaseRef& lease, const NewCheckpoint& made) {
  ModelJob* job = Held(lease);
  if (job == nullptr) return StaleLease();
  const char files = made.files[0].sha256()[0];
  const auto before = job->checkpoints.find(made.step);
  const bool is_new = before == job->checkpoints.end();
  if (!is_new && before->second.files == files) return {};
  ModelCheckpoint checkpoint = {.files = files, .needs = job->needs};
  checkpoint.attempt = static_cast<int>(job->attempts.size());
  checkpoint.pinned = !is_new && before->second.pinned;
  if (const v1::Execution& with = made.execution; !with.device().empty()) {
    checkpoint.needs = {with.device(), with.cpu_capability(), with.precision(), job->needs.methods};
  }
  job->checkpoints[made.step] = checkpoint;
  if (made.step >= job->requested_step) job->requested_step = 0;
  if (made.step > job->saved_step) {
    job->saved_step = made.step;
    ForgetFailures(*job);
  }
  job->needs = NeedsNow(*job);
  if (!is_new) return {};
  int place = 0;
  std::erase_if(job->checkpoints, [&](const auto& each) {
    return ++place > job->submission.keep_last && !each.second.pinned;
  });
  job->log.push_back(absl::StrCat("checkpoint ", made.step));
  return {};
}

namespace {

v1::AttemptOutcome OutcomeOf(const AttemptOutcome& outcome, const ModelJob& job) {
  if (std::holds_alternative<AttemptSucceeded>(outcome)) return v1::ATTEMPT_OUTCOME_SUCCEEDED;
  if (std::holds_alternative<AttemptFailed>(outcome)) return v1::ATTEMPT_OUTCOME_FAILED;
  if (std::holds_alternative<AttemptReturned>(outcome)) return v1::ATTEMPT_OUTCOME_RETURNED;
  if (job.state == v1::JOB_STATE_CANCELLING) return v1::ATTEMPT_OUTCOME_CANCELLED;
  if (job.state == v1::JOB_STATE_PAUSING) return v1::ATTEMPT_OUTCOME_PAUSED;
  return job.preempted_by.empty() ? v1::ATTEMPT_OUTCOME_RETURNED : v1::ATTEMPT_OUTCOME_PREEMPTED;
}

// What it tells of the worker.
AttemptEnd EndOf(const AttemptOutcome& outcome) {
  if (const auto* failed = std::get_if<AttemptFailed>(&outcome)) {
    return failed->failure_class == v1::FAILURE_CLASS_INFRASTRUCTURE ? AttemptEnd::kInfrastructure
                                                                     : AttemptEnd::kOther;
  }
  const auto* returned = std::get_if<AttemptReturned>(&outcome);
  if (returned == nullptr || returned->by_server || returned->bystander) return AttemptEnd::kOther;
  return returned->worker_fault ? AttemptEnd::kWorkerFault : AttemptEnd::kReturned;
}

const google::rpc::Status* ErrorOf(const AttemptOutcome& outcome) {
  if (const auto* failed = std::get_if<AttemptFailed>(&outcome)) return &failed->error;
  if (const auto* returned = std::get_if<AttemptReturned>(&outcome)) return &returned->reason;
  return nullptr;
}

}  // namespace

Answer Model::Finish(const LeaseRef& lease, int64_t last_batch, const AttemptOutcome& outcome) {
  ModelJob* job = Held(lease);
  if (job == nullptr) {
    // The same report again, while nobody else has had the job.
    const auto known = jobs_.find(lease.job);
    if (known == jobs_.end() || known->second.attempts.empty()) return StaleLease();
    const ModelAttempt& last = known->second.attempt();
    const bool its_own = last.end_reported && last.lease_epoch == lease.lease_epoch &&
                         last.worker.id == lease.worker.id &&
                         last.worker.instance == lease.worker.instance;
    return its_own ? Answer{.value = Text(known->second.state)} : StaleLease();
  }
  if (job->attempt().last_batch < last_batch) {
    return Refusal(absl::StatusCode::kFailedPrecondition, kReasonEventsMissing);
  }
  const bool dropped = DropCorrupt(*job, outcome);
  job->attempt().end_reported = true;
  Conclude(*job, outcome, dropped);
  placement_.Ended(job->attempt().worker, job->name, job->state, job->attempt().progressed,
                   dropped ? AttemptEnd::kOther : EndOf(outcome), now());
  return {.value = Text(job->state)};
}

bool Model::DropCorrupt(ModelJob& job, const AttemptOutcome& outcome) {
  const google::rpc::Status* error = ErrorOf(outcome);
  const auto step = error == nullptr ? std::nullopt : CorruptCheckpointOf(*error);
  if (!step || job.checkpoints.erase(*step) == 0) return false;
  job.needs = NeedsNow(job);
  job.log.push_back("warning CHECKPOINT_CORRUPT");
  return true;
}

// What the end of its attempt makes of the job.
void Model::Conclude(ModelJob& job, const AttemptOutcome& outcome, bool dropped) {
  const absl::Duration ran = RanFor(job);
  EndAttempt(job, OutcomeOf(outcome, job));
  if (std::holds_alternative<AttemptSucceeded>(outcome)) {
    if (!job.output.empty()) adapters_.insert(job.output);
    return SetState(job, v1::JOB_STATE_SUCCEEDED);
  }
  const auto* failed = std::get_if<AttemptFailed>(&outcome);
  if (failed != nullptr && !dropped) {
    if (failed->failure_class == v1::FAILURE_CLASS_INFRASTRUCTURE) {
      return Lose(job, failed->cause, ran);
    }
    job.failure_class = failed->failure_class;
    return SetState(job, v1::JOB_STATE_FAILED);
  }
  if (job.state == v1::JOB_STATE_CANCELLING) return SetState(job, v1::JOB_STATE_CANCELLED);
  if (job.state == v1::JOB_STATE_PAUSING) {
    BackToCheckpoint(job);
    return SetState(job, v1::JOB_STATE_PAUSED);
  }
  if (dropped) return LoseAnywhere(job);
  if (std::holds_alternative<AttemptPaused>(outcome) && !job.preempted_by.empty()) {
    BackToCheckpoint(job);
    return SetState(job, v1::JOB_STATE_QUEUED);  // No failure, and at once.
  }
  const auto* returned = std::get_if<AttemptReturned>(&outcome);
  if (returned == nullptr) return Lose(job, "given back", ran);
  absl::Duration pause = options_.pause_after_return;
  if (returned->by_server) {
    LoseAnywhere(job);
    pause = std::max(pause, RetryDelay(job));
  } else {
    BackToCheckpoint(job);
    SetState(job, v1::JOB_STATE_QUEUED);
  }
  if (job.state == v1::JOB_STATE_QUEUED) job.not_before = now() + pause;
}

}  // namespace graft::simulation
