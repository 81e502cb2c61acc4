// Who gets which job, and what becomes of those whose worker is lost.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/server/simulation/model.h"
#include "tests/server/simulation/text.h"

namespace graft::simulation {

std::vector<const ModelJob*> Model::Queue() const {
  std::vector<const ModelJob*> queue;
  for (const auto& [name, job] : jobs_) {
    if (job.state == v1::JOB_STATE_QUEUED && job.not_before <= now()) queue.push_back(&job);
  }
  std::sort(queue.begin(), queue.end(), [](const ModelJob* a, const ModelJob* b) {
    if (a->submission.priority != b->submission.priority) {
      return a->submission.priority > b->submission.priority;
    }
    return a->number < b->number;
  });
  return queue;
}

// No job waits while this worker takes one of lower priority, or a later one, without a reason.
ModelJob* Model::Choose(const WorkerRef& worker, const std::optional<Abilities>& abilities,
                        const std::vector<PresentWorker>& present) {
  const ModelJob* last_resort = nullptr;
  for (const ModelJob* job : Queue()) {
    if (!IsAble(abilities, job->needs) || placement_.HandedBack(worker, job->name) ||
        placement_.BetterElsewhere(worker, job->name, job->needs, present, now())) {
      continue;
    }
    if (!placement_.EndedEarlyThere(worker, job->name)) return Find(job->name);
    if (last_resort == nullptr) last_resort = job;
  }
  return last_resort == nullptr ? nullptr : Find(last_resort->name);
}

ModelJob* Model::ClaimedBy(const WorkerRef& worker, const std::string& request_id) {
  for (auto& [name, job] : jobs_) {
    if (job.lease && job.lease->request_id == request_id && job.attempt().worker.id == worker.id &&
        job.attempt().worker.instance == worker.instance) {
      return &job;
    }
  }
  return nullptr;
}

Answer Model::Lease(const WorkerRef& worker, const std::string& request_id,
                    const std::optional<Abilities>& abilities,
                    const std::vector<PresentWorker>& present) {
  if (ModelJob* job = ClaimedBy(worker, request_id)) {
    ExtendLease(*job);
    return {.value = ClaimText(*job)};
  }
  placement_.Asked(worker, abilities);
  const bool set_aside = placement_.IsSetAside(worker, now());
  ModelJob* job = set_aside ? nullptr : Choose(worker, abilities, present);
  if (job == nullptr) return {.value = Text(std::optional<graft::Claim>())};
  Claim(*job, worker, request_id);
  return {.value = ClaimText(*job)};
}

void Model::AskedInVain(const WorkerRef& worker, const std::string& request_id,
                        const std::optional<Abilities>& abilities) {
  if (ClaimedBy(worker, request_id) == nullptr) placement_.Asked(worker, abilities);
}

void Model::Claim(ModelJob& job, const WorkerRef& worker, const std::string& request_id) {
  ++job.lease_epoch;
  job.lease = {request_id, now(), now() + options_.lease_duration};
  job.not_before = absl::ZeroDuration();
  job.attempts.push_back(
      {.worker = worker, .lease_epoch = job.lease_epoch, .resumed_from = job.newest_step()});
  job.step = job.newest_step();
  SetState(job, v1::JOB_STATE_RUNNING);
}

ModelJob* Model::Held(const LeaseRef& lease) {
  ModelJob* job = Find(lease.job);
  if (job == nullptr || !job->lease || job->lease_epoch != lease.lease_epoch) return nullptr;
  const WorkerRef& holder = job->attempt().worker;
  return holder.id == lease.worker.id && holder.instance == lease.worker.instance ? job : nullptr;
}

void Model::ExtendLease(ModelJob& job) const {
  if (!job.lease->end) job.lease->begin = now();
  job.lease->end = now() + options_.lease_duration;
}

Answer Model::Renew(const WorkerRef& worker,
                    const std::vector<std::pair<std::string, int64_t>>& job_and_lease_epoch) {
  std::vector<LeaseRenewal> renewals;
  for (const auto& [name, lease_epoch] : job_and_lease_epoch) {
    LeaseRenewal renewal = {.job = name, .lease_epoch = lease_epoch};
    if (ModelJob* job = Held({name, lease_epoch, worker})) {
      renewal.held = true;
      renewal.cancel = job->state == v1::JOB_STATE_CANCELLING;
      renewal.cancel_saves = job->cancel_saves;
      renewal.pause = job->state == v1::JOB_STATE_PAUSING || !job->preempted_by.empty();
      renewal.checkpoint_step = job->requested_step;
      ExtendLease(*job);
    }
    renewals.push_back(renewal);
  }
  return {.value = Text(renewals)};
}

Answer Model::ReleaseOtherInstances(const WorkerRef& worker) {
  std::vector<std::string> ended;
  std::map<int64_t, ModelJob*> in_order;
  for (auto& [name, job] : jobs_) in_order[job.number] = &job;
  for (const auto& [number, job] : in_order) {
    if (!job->lease || job->attempt().worker.id != worker.id ||
        job->attempt().worker.instance == worker.instance) {
      continue;
    }
    EndLease(*job, "worker restarted");
    ended.push_back(job->name);
  }
  return {.value = Text(ended)};
}

absl::Duration Model::RanFor(const ModelJob& job) const {
  return now() - job.lease->begin.value_or(now());
}

void Model::EndAttempt(ModelJob& job, v1::AttemptOutcome outcome) {
  job.attempt().outcome = outcome;
  job.lease.reset();
}

// Without a report: whoever held it is never heard again under this lease epoch.
void Model::EndLease(ModelJob& job, const std::string& cause) {
  touched_.insert(job.name);
  const absl::Duration ran = RanFor(job);
  EndAttempt(job, v1::ATTEMPT_OUTCOME_LEASE_LOST);
  ++job.lease_epoch;
  Lose(job, cause, ran);
  placement_.Ended(job.attempt().worker, job.name, job.state, job.attempt().progressed,
                   AttemptEnd::kInfrastructure, now());
}

// A failure that is not known to be the job's: it is tried again, unless that came to nothing too
// often.
void Model::Lose(ModelJob& job, const std::string& cause, absl::Duration ran) {
  if (job.state == v1::JOB_STATE_CANCELLING) return SetState(job, v1::JOB_STATE_CANCELLED);
  if (job.state == v1::JOB_STATE_PAUSING) {
    BackToCheckpoint(job);
    return SetState(job, v1::JOB_STATE_PAUSED);
  }
  const std::string place = absl::StrCat(
      job.stage, " ", job.step, " ", job.stage == v1::JOB_STAGE_EVALUATING ? job.rows : 0, cause);
  const absl::Duration difference = absl::AbsDuration(ran - job.failure_ran);
  const bool same_time =
      difference <= std::max(absl::Milliseconds(500), 0.25 * std::max(ran, job.failure_ran));
  const bool alike = job.failures_alike > 0 && place == job.failure_place && same_time;
  job.failures_alike = alike ? job.failures_alike + 1 : 1;
  job.failure_place = place;
  job.failure_ran = ran;
  ++job.failures;
  if (FailedTooOften(job)) {
    job.failure_class = v1::FAILURE_CLASS_INFRASTRUCTURE;
    return SetState(job, v1::JOB_STATE_FAILED);
  }
  SetState(job, v1::JOB_STATE_QUEUED);
  job.not_before = now() + RetryDelay(job);
}

void Model::LoseAnywhere(ModelJob& job) {
  ++job.failures;
  if (FailedTooOften(job)) job.failure_class = v1::FAILURE_CLASS_INFRASTRUCTURE;
  SetState(job, FailedTooOften(job) ? v1::JOB_STATE_FAILED : v1::JOB_STATE_QUEUED);
}

void Model::ForgetFailures(ModelJob& job) { job.failures = job.failures_alike = 0; }

bool Model::FailedTooOften(const ModelJob& job) const {
  return job.failures_alike >= options_.max_failures_alike ||
         job.failures >= options_.max_failures_without_progress;
}

absl::Duration Model::RetryDelay(const ModelJob& job) const {
  absl::Duration delay = options_.first_retry_delay;
  for (int i = 1; i < job.failures; ++i) delay = std::min(2 * delay, options_.max_retry_delay);
  return delay;
}

}  // namespace graft::simulation
