// What ends by itself, and who makes way.

#include <algorithm>

#include "server/scheduler/scheduler.h"
#include "tests/server/simulation/model.h"

namespace graft::simulation {
namespace {

template <typename T>
std::vector<ModelJob*> BySubmission(T& jobs) {
  std::vector<ModelJob*> ordered;
  for (auto& [name, job] : jobs) ordered.push_back(&job);
  std::sort(ordered.begin(), ordered.end(),
            [](const ModelJob* a, const ModelJob* b) { return a->number < b->number; });
  return ordered;
}

}  // namespace

bool Model::IsOverdue(const ModelJob& job) const {
  const auto& deadline = job.submission.deadline;
  return deadline && *deadline <= clock_.Now() && !IsDoneState(job.state);
}

bool Model::HasOverdue() const {
  return std::any_of(jobs_.begin(), jobs_.end(),
                     [&](const auto& job) { return IsOverdue(job.second); });
}

void Model::EndOverdue() {
  for (auto& [name, job] : jobs_) {
    if (!IsOverdue(job)) continue;
    touched_.insert(name);
    if (job.lease) {
      EndAttempt(job, v1::ATTEMPT_OUTCOME_CANCELLED);
      ++job.lease_epoch;
    }
    job.failure_class = v1::FAILURE_CLASS_DEADLINE;
    SetState(job, v1::JOB_STATE_FAILED);
  }
}

std::vector<std::string> Model::ExpireLeases() {
  std::vector<std::string> ended;
  for (ModelJob* job : BySubmission(jobs_)) {
    if (!job->lease) continue;
    if (!job->lease->end) {
      ExtendLease(*job);  // A full term after a restart.
    } else if (*job->lease->end <= now()) {
      EndLease(*job, "lease expired");
      ended.push_back(job->name);
    }
  }
  return ended;
}

void Model::ForgiveFailures() {
  for (const auto& [name, failures] : placement_.TakeForgiven()) {
    const auto found = jobs_.find(name);
    if (found == jobs_.end() || IsDoneState(found->second.state)) continue;
    ModelJob& job = found->second;
    job.failures = std::max(0, job.failures - failures);
    job.failures_alike = std::min(job.failures_alike, job.failures);
  }
}

void Model::Prune() {
  if (now() < next_prune_) return;
  next_prune_ = now() + absl::Hours(1);
  const absl::Duration checkpoints_before = now() - options_.checkpoint_lifetime;
  for (auto& [name, job] : jobs_) {
    const auto gone = std::erase_if(job.checkpoints, [&](const auto& each) {
      return each.second.kept_since && *each.second.kept_since < checkpoints_before;
    });
    if (gone > 0) touched_.insert(name);
  }
  std::erase_if(answers_, [&](const auto& each) {
    return each.second.since < now() - options_.request_id_lifetime;
  });
}

bool Model::MakesWayNow(const ModelJob& job) const {
  return job.state != v1::JOB_STATE_RUNNING ||
         (!job.preempted_by.empty() && made_way_.contains(job.name));
}

// Of the jobs of lower priority on a worker that would surely take the other: the one of the lowest
// priority, the youngest of several. None makes way twice within the interval.
ModelJob* Model::FindVictim(const ModelJob& urgent, const std::map<std::string, int>& open_slots) {
  ModelJob* victim = nullptr;
  for (ModelJob* job : BySubmission(jobs_)) {
    if (job->state != v1::JOB_STATE_RUNNING || !job->preempted_by.empty() ||
        job->submission.priority >= urgent.submission.priority || made_way_.contains(job->name)) {
      continue;
    }
    const std::string& worker = job->attempt().worker.id;
    if (!open_slots.contains(worker) ||
        !placement_.IsSureToTake(worker, urgent.name, urgent.needs, now())) {
      continue;
    }
    if (victim == nullptr || job->submission.priority <= victim->submission.priority) victim = job;
  }
  return victim;
}

std::vector<std::pair<std::string, std::string>> Model::MakeWay(
    const std::vector<PresentWorker>& present) {
  std::erase_if(made_way_,
                [&](const auto& one) { return one.second + kPreemptionInterval <= now(); });
  // A server that starts anew finds some making way.
  for (const auto& [name, job] : jobs_) {
    if (begun_anew_ && job.lease && !job.preempted_by.empty()) made_way_[name] = now();
  }
  begun_anew_ = false;
  std::map<std::string, int> open_slots;
  for (const PresentWorker& worker : present) open_slots[worker.id] = worker.slots;
  for (const auto& [name, job] : jobs_) {
    if (!job.lease || MakesWayNow(job)) continue;
    const auto slots = open_slots.find(job.attempts.back().worker.id);
    if (slots != open_slots.end()) --slots->second;
  }
  std::vector<std::pair<std::string, std::string>> making_way;
  for (const ModelJob* urgent : Queue()) {
    const JobNeeds& needs = urgent->needs;
    const bool somebody_can = std::any_of(present.begin(), present.end(), [&](const auto& worker) {
      return placement_.CanServeOf(worker.id, needs);
    });
    const bool under_way = std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& each) {
      const ModelJob& job = each.second;
      return job.lease && job.preempted_by == urgent->name && MakesWayNow(job) &&
             !open_slots.contains(job.attempts.back().worker.id);
    });
    if (!somebody_can || under_way) continue;
    const auto open = std::find_if(open_slots.begin(), open_slots.end(), [&](const auto& slots) {
      return slots.second > 0 && placement_.WouldTake(slots.first, urgent->name, needs, now());
    });
    if (open != open_slots.end()) {
      --open->second;
    } else if (ModelJob* victim = FindVictim(*urgent, open_slots)) {
      touched_.insert(victim->name);
      victim->preempted_by = urgent->name;
      made_way_[victim->name] = now();
      making_way.emplace_back(victim->name, urgent->name);
    }
  }
  return making_way;
}

absl::Duration Model::NextExpiry() const {
  absl::Duration next = absl::InfiniteDuration();
  for (const auto& [name, job] : jobs_) {
    if (job.lease) next = std::min(next, job.lease->end.value_or(now()));
  }
  return next;
}

absl::Duration Model::NextRetry() const {
  absl::Duration next = absl::InfiniteDuration();
  for (const auto& [name, job] : jobs_) {
    if (job.not_before > now()) next = std::min(next, job.not_before);
  }
  return next;
}

absl::Duration Model::NextMoment() const {
  absl::Duration next = std::min({NextExpiry(), NextRetry(), placement_.NextChange(now())});
  for (const auto& [name, job] : jobs_) {
    if (IsDoneState(job.state) || !job.submission.deadline) continue;
    next = std::min(next, now() + (*job.submission.deadline - clock_.Now()));
  }
  return next;
}

// Not one whose retry is under way, whose end nobody has heard of, or of which something is pinned.
std::vector<std::string> Model::DeleteOld() {
  std::vector<std::pair<absl::Duration, ModelJob*>> old;
  for (ModelJob* job : BySubmission(jobs_)) {
    const bool used = std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& other) {
      return other.second.retry_of == job->name && !IsDoneState(other.second.state);
    });
    const bool pinned =
        std::any_of(job->checkpoints.begin(), job->checkpoints.end(),
                    [](const auto& checkpoint) { return checkpoint.second.pinned; });
    if (!job->done_since || *job->done_since >= now() - options_.job_lifetime || used || pinned ||
        (job->end_marked && options_.mark_ends)) {
      continue;
    }
    old.emplace_back(*job->done_since, job);
  }
  std::stable_sort(old.begin(), old.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  constexpr size_t kAtOnce = 20;
  if (old.size() > kAtOnce) old.resize(kAtOnce);
  std::vector<std::string> deleted;
  for (const auto& [since, job] : old) deleted.push_back(job->name);
  for (const std::string& name : deleted) {
    touched_.insert(name);
    jobs_.erase(name);
    placement_.Forget(name);
  }
  return deleted;
}

void Model::ForgetEnd(const std::string& name) {
  if (ModelJob* job = Find(name)) job->end_marked = false;
}

void Model::Restart(bool store_too) {
  placement_ = ModelPlacement();
  made_way_.clear();
  begun_anew_ = true;
  next_prune_ = absl::ZeroDuration();
  if (!store_too) return;
  for (auto& [name, job] : jobs_) {
    job.not_before = absl::ZeroDuration();
    if (job.lease) job.lease->begin = job.lease->end = std::nullopt;
  }
}

}  // namespace graft::simulation
