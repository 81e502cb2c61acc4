#include "tests/server/simulation/model_placement.h"

#include <algorithm>

#include "absl/strings/str_split.h"

namespace graft::simulation {
namespace {

bool Has(const std::vector<std::string>& all, const std::string& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

}  // namespace

bool IsAble(const std::optional<Abilities>& abilities, const JobNeeds& needs) {
  // One that says nothing knows only the methods that all know, and any device.
  if (!abilities) return needs.methods.empty();
  for (const absl::string_view method : absl::StrSplit(needs.methods, '+', absl::SkipEmpty())) {
    if (!Has(abilities->methods, std::string(method))) return false;
  }
  if (!needs.precision.empty() && !abilities->precisions.empty() &&
      !Has(abilities->precisions, needs.precision)) {
    return false;
  }
  if (needs.device.empty() || abilities->devices.empty()) return true;
  if (needs.device != "cpu") return Has(abilities->devices, needs.device);
  // What began on a CPU goes on on the same kind of CPU, or on a GPU.
  return abilities->devices != std::vector<std::string>{"cpu"} || needs.cpu_capability.empty() ||
         needs.cpu_capability == abilities->cpu_capability;
}

ModelPlacement::Worker& ModelPlacement::Of(const WorkerRef& ref) {
  Worker& worker = workers_[ref.id];
  if (worker.instance != ref.instance) worker = {.instance = ref.instance};
  return worker;
}

void ModelPlacement::Asked(const WorkerRef& worker, const std::optional<Abilities>& abilities) {
  Of(worker).abilities = abilities;
}

void ModelPlacement::Progressed(const WorkerRef& ref, const std::string& name) {
  const auto known = workers_.find(ref.id);
  if (known == workers_.end() || known->second.instance == ref.instance) {
    Worker& worker = Of(ref);
    worker.early_in_row = 0;
    worker.early_jobs.clear();
    worker.set_aside_for = worker.set_aside_until = absl::ZeroDuration();
  }
  const auto job = jobs_.find(name);
  if (job == jobs_.end()) return;
  const auto failed = job->second.early;
  for (const auto& [id, count] : failed) {
    if (id != ref.id) Forgive(name, id);  // This one comes further with it than that one did.
  }
}

void ModelPlacement::Ended(const WorkerRef& ref, const std::string& name, v1::JobState state,
                           bool progressed, AttemptEnd end, absl::Duration now) {
  if (state == v1::JOB_STATE_QUEUED) {
    Job& job = jobs_[name];
    if (end == AttemptEnd::kInfrastructure) {
      job.failed_at = ref.id;
      job.failed_until = now + kPreferOtherWorker;
    } else if (end == AttemptEnd::kReturned || end == AttemptEnd::kWorkerFault) {
      job.handed_back_by.push_back(ref);
      if (job.handed_back_by.size() > kMaxRefusals) {
        job.handed_back_by.erase(job.handed_back_by.begin());
      }
    }
  }
  // What an instance of before did says nothing of this one.
  const auto known = workers_.find(ref.id);
  if (known != workers_.end() && known->second.instance != ref.instance) return;
  if (end == AttemptEnd::kWorkerFault) SetAside(Of(ref), now);
  if (end == AttemptEnd::kInfrastructure && !progressed) EndedEarly(Of(ref), ref.id, name, now);
}

void ModelPlacement::EndedEarly(Worker& worker, const std::string& id, const std::string& name,
                                absl::Duration now) {
  ++worker.early_in_row;
  if (const auto job = jobs_.find(name); job != jobs_.end()) {
    ++job->second.early[id];
    worker.early_jobs.insert(name);
  }
  // Two jobs that failed early nowhere else: it is the worker.
  std::vector<std::string> only_here;
  for (const std::string& each : worker.early_jobs) {
    const auto job = jobs_.find(each);
    if (job != jobs_.end() && job->second.early.size() <= 1) only_here.push_back(each);
  }
  if (only_here.size() >= 2) {
    for (const std::string& each : only_here) Forgive(each, id);
  }
  if (worker.early_in_row >= kEarlyEndsInRow) SetAside(worker, now);
}

void ModelPlacement::SetAside(Worker& worker, absl::Duration now) {
  worker.set_aside_for = worker.set_aside_for == absl::ZeroDuration()
                             ? kFirstSetAside
                             : std::min(2 * worker.set_aside_for, kLongestSetAside);
  worker.set_aside_until = now + worker.set_aside_for;
}

void ModelPlacement::Forgive(const std::string& name, const std::string& worker) {
  Job& job = jobs_[name];
  const int failures = std::min(job.early[worker], kMaxForgiven - job.forgiven);
  job.early[worker] = 0;
  job.forgiven += failures;
  if (failures > 0) forgiven_[name] += failures;
}

bool ModelPlacement::IsSetAside(const WorkerRef& ref, absl::Duration now) const {
  const auto worker = workers_.find(ref.id);
  return worker != workers_.end() && worker->second.instance == ref.instance &&
         now < worker->second.set_aside_until;
}

bool ModelPlacement::HandedBack(const WorkerRef& worker, const std::string& name) const {
  const auto job = jobs_.find(name);
  if (job == jobs_.end()) return false;
  const auto& by = job->second.handed_back_by;
  return std::any_of(by.begin(), by.end(), [&](const WorkerRef& each) {
    return each.id == worker.id && each.instance == worker.instance;
  });
}

bool ModelPlacement::BetterElsewhere(const WorkerRef& worker, const std::string& name,
                                     const JobNeeds& needs,
                                     const std::vector<PresentWorker>& present,
                                     absl::Duration now) const {
  const auto job = jobs_.find(name);
  if (job == jobs_.end() || job->second.failed_at != worker.id || now >= job->second.failed_until) {
    return false;
  }
  return std::any_of(present.begin(), present.end(), [&](const PresentWorker& other) {
    const auto known = workers_.find(other.id);
    return other.id != worker.id && other.free_slots > 0 &&
           (known == workers_.end() ||
            (now >= known->second.set_aside_until && IsAble(known->second.abilities, needs)));
  });
}

bool ModelPlacement::EndedEarlyThere(const WorkerRef& ref, const std::string& job) const {
  const auto worker = workers_.find(ref.id);
  return worker != workers_.end() && worker->second.instance == ref.instance &&
         worker->second.early_jobs.contains(job);
}

bool ModelPlacement::WouldTake(const std::string& id, const std::string& job, const JobNeeds& needs,
                               absl::Duration now) const {
  const auto worker = workers_.find(id);
  return worker == workers_.end() ||
         (now >= worker->second.set_aside_until && IsAble(worker->second.abilities, needs) &&
          !HandedBack({id, worker->second.instance}, job));
}

bool ModelPlacement::IsSureToTake(const std::string& id, const std::string& job,
                                  const JobNeeds& needs, absl::Duration now) const {
  const bool bound = !needs.device.empty() || !needs.cpu_capability.empty();
  const auto worker = workers_.find(id);
  if (worker == workers_.end()) return !bound && needs.methods.empty();
  const bool device_known = worker->second.abilities && !worker->second.abilities->devices.empty();
  return WouldTake(id, job, needs, now) && (device_known || !bound) &&
         !worker->second.early_jobs.contains(job);
}

bool ModelPlacement::CanServeOf(const std::string& id, const JobNeeds& needs) const {
  const auto worker = workers_.find(id);
  return IsAble(worker == workers_.end() ? std::nullopt : worker->second.abilities, needs);
}

absl::Duration ModelPlacement::NextChange(absl::Duration now) const {
  absl::Duration next = absl::InfiniteDuration();
  for (const auto& [id, worker] : workers_) {
    if (worker.set_aside_until > now) next = std::min(next, worker.set_aside_until);
  }
  for (const auto& [name, job] : jobs_) {
    if (job.failed_until > now) next = std::min(next, job.failed_until);
  }
  return next;
}

}  // namespace graft::simulation
