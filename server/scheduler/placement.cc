#include "server/scheduler/placement.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/jobs/job_state.h"

namespace graft {
namespace {

constexpr char kCpu[] = "cpu";

bool Contains(const std::vector<std::string>& all, const std::string& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

}  // namespace

std::vector<std::string> Lacks(const std::optional<Abilities>& abilities, const JobNeeds& needs) {
  std::vector<std::string> lacks;
  for (const absl::string_view method : absl::StrSplit(needs.methods, '+', absl::SkipEmpty())) {
    if (abilities.has_value() && Contains(abilities->methods, std::string(method))) continue;
    lacks.push_back(absl::StrCat("method ", method));
  }
  if (!abilities.has_value()) return lacks;
  if (!needs.precision.empty() && !abilities->precisions.empty() &&
      !Contains(abilities->precisions, needs.precision)) {
    lacks.push_back(absl::StrCat("precision ", needs.precision, " (it has ",
                                 absl::StrJoin(abilities->precisions, ", "), ")"));
  }
  if (needs.device.empty() || abilities->devices.empty()) return lacks;
  if (needs.device != kCpu) {
    if (!Contains(abilities->devices, needs.device)) {
      lacks.push_back(absl::StrCat("device ", needs.device, " (it has ",
                                   absl::StrJoin(abilities->devices, ", "), ")"));
    }
    return lacks;
  }
  const bool has_gpu = std::any_of(abilities->devices.begin(), abilities->devices.end(),
                                   [](const std::string& device) { return device != kCpu; });
  if (!has_gpu && !needs.cpu_capability.empty() &&
      needs.cpu_capability != abilities->cpu_capability) {
    lacks.push_back(absl::StrCat("instruction set ", needs.cpu_capability, " (it has ",
                                 abilities->cpu_capability, ")"));
  }
  return lacks;
}

bool CanServe(const std::optional<Abilities>& abilities, const JobNeeds& needs) {
  return Lacks(abilities, needs).empty();
}

std::string NeedsText(const JobNeeds& needs) {
  std::vector<std::string> parts;
  for (const std::string* part :
       {&needs.device, &needs.cpu_capability, &needs.precision, &needs.methods}) {
    if (!part->empty()) parts.push_back(*part);
  }
  return absl::StrJoin(parts, ", ");
}

Placement::Worker& Placement::WorkerOf(const WorkerRef& ref, absl::Duration now) {
  if (workers_.count(ref.id) == 0 && workers_.size() >= kMaxPlacementWorkers) {
    workers_.erase(std::min_element(
        workers_.begin(), workers_.end(),
        [](const auto& a, const auto& b) { return a.second.heard < b.second.heard; }));
  }
  Worker& worker = workers_[ref.id];
  // A new instance may have been mended.
  if (worker.instance != ref.instance) worker = {.instance = ref.instance};
  worker.heard = now;
  return worker;
}

void Placement::Asked(const WorkerRef& worker, std::optional<Abilities> abilities,
                      absl::Duration now) {
  WorkerOf(worker, now).abilities = std::move(abilities);
}

void Placement::Changed(const JobChange& change, absl::Duration now) {
  // What an old instance does says nothing of the new one.
  const auto known = workers_.find(change.holder.id);
  const bool old = known != workers_.end() && known->second.instance != change.holder.instance;
  if (change.end == AttemptEnd::kNone && change.progressed) Progressed(change, old, now);
  if (change.deleted || IsFinal(change.state)) jobs_.erase(change.job);
  if (change.end == AttemptEnd::kNone) return;
  if (change.state == v1::JOB_STATE_QUEUED) {
    Job& job = jobs_[change.job];
    if (change.end == AttemptEnd::kInfrastructure) {
      job.failed_at = change.holder.id;
      job.prefer_other_until = now + kPreferOtherWorker;
    } else if (change.end != AttemptEnd::kOther) {
      job.refused_by.emplace_back(change.holder.id, change.holder.instance);
      if (job.refused_by.size() > kMaxRefusals) job.refused_by.erase(job.refused_by.begin());
    }
  }
  if (old) return;
  if (change.end == AttemptEnd::kWorkerFault) {
    SetAside(change.holder.id, WorkerOf(change.holder, now), now);
  } else if (change.end == AttemptEnd::kInfrastructure && !change.progressed) {
    EndedEarly(change.holder, change.job, now);
  }
}

void Placement::EndedEarly(const WorkerRef& ref, const std::string& name, absl::Duration now) {
  Worker& worker = WorkerOf(ref, now);
  ++worker.early_in_row;
  const auto found = jobs_.find(name);
  if (found != jobs_.end()) {
    ++found->second.early[ref.id];
    worker.early_jobs.insert(name);
  }
  // A job that fails early elsewhere, too, says nothing about this worker.
  std::vector<std::string> only_here;
  for (const std::string& job : worker.early_jobs) {
    const auto failed = jobs_.find(job);
    if (failed != jobs_.end() && failed->second.early.size() <= 1) only_here.push_back(job);
  }
  if (only_here.size() >= 2) {
    for (const std::string& job : only_here) Forgive(job, ref.id);
  }
  if (worker.early_in_row >= kEarlyEndsInRow) SetAside(ref.id, worker, now);
}

void Placement::Progressed(const JobChange& change, bool old, absl::Duration now) {
  if (!old) {
    Worker& worker = WorkerOf(change.holder, now);
    worker.early_in_row = 0;
    worker.early_jobs.clear();
    worker.back_off = worker.until = absl::ZeroDuration();
  }
  const auto found = jobs_.find(change.job);
  if (found == jobs_.end()) return;
  std::vector<std::string> others;
  for (const auto& [id, count] : found->second.early) {
    if (id != change.holder.id) others.push_back(id);
  }
  for (const std::string& other : others) Forgive(change.job, other);
}

void Placement::SetAside(const std::string& id, Worker& worker, absl::Duration now) {
  worker.back_off = worker.back_off == absl::ZeroDuration()
                        ? kFirstSetAside
                        : std::min(2 * worker.back_off, kLongestSetAside);
  worker.until = now + worker.back_off;
  newly_set_aside_.emplace_back(id, worker.back_off);
}

void Placement::Forgive(const std::string& name, const std::string& worker) {
  Job& job = jobs_[name];
  // An empty entry stays: it has failed there.
  int& count = job.early[worker];
  const int now = std::min(std::exchange(count, 0), kMaxForgiven - job.forgiven);
  if (now <= 0) return;
  job.forgiven += now;
  forgiven_[name] += now;
}

bool Placement::IsSetAside(const WorkerRef& worker, absl::Duration now) const {
  const auto found = workers_.find(worker.id);
  return found != workers_.end() && found->second.instance == worker.instance &&
         now < found->second.until;
}

bool Placement::MayTake(const WorkerRef& worker, const QueuedJob& queued,
                        const std::vector<PresentWorker>& present, absl::Duration now) const {
  const auto found = jobs_.find(queued.name);
  if (found == jobs_.end()) return true;
  const Job& job = found->second;
  for (const auto& [id, instance] : job.refused_by) {
    if (id == worker.id && instance == worker.instance) return false;
  }
  if (job.failed_at != worker.id || now >= job.prefer_other_until) return true;
  return std::none_of(present.begin(), present.end(), [&](const PresentWorker& other) {
    if (other.id == worker.id || other.free_slots <= 0) return false;
    const auto known = workers_.find(other.id);
    if (known == workers_.end()) return true;
    return now >= known->second.until && CanServe(known->second.abilities, queued.needs);
  });
}

bool Placement::WouldTake(const std::string& worker, const QueuedJob& queued,
                          absl::Duration now) const {
  const auto known = workers_.find(worker);
  if (known == workers_.end()) return true;
  if (now < known->second.until || !CanServe(known->second.abilities, queued.needs)) return false;
  return MayTake({worker, known->second.instance}, queued, {}, now);
}

bool Placement::IsSureToTake(const std::string& worker, const QueuedJob& queued,
                             absl::Duration now) const {
  if (!WouldTake(worker, queued, now)) return false;
  const JobNeeds& needs = queued.needs;
  const auto known = workers_.find(worker);
  if (known == workers_.end()) {
    return needs.device.empty() && needs.cpu_capability.empty() && needs.methods.empty();
  }
  const bool has_devices = known->second.abilities && !known->second.abilities->devices.empty();
  if (!has_devices && !(needs.device.empty() && needs.cpu_capability.empty())) return false;
  return !known->second.early_jobs.contains(queued.name);
}

std::optional<Abilities> Placement::AbilitiesOf(const std::string& worker) const {
  const auto known = workers_.find(worker);
  return known == workers_.end() ? std::nullopt : known->second.abilities;
}

Placement::Standing Placement::StandingOf(const std::string& worker, absl::Duration now) const {
  const auto known = workers_.find(worker);
  if (known == workers_.end()) return {};
  return {true, known->second.abilities, std::max(known->second.until - now, absl::ZeroDuration())};
}

std::set<std::pair<std::string, std::string>> Placement::HandedBack() const {
  std::set<std::pair<std::string, std::string>> handed_back;
  for (const auto& [name, job] : jobs_) {
    for (const auto& [id, instance] : job.refused_by) {
      const auto worker = workers_.find(id);
      if (worker != workers_.end() && worker->second.instance == instance) {
        handed_back.emplace(name, id);
      }
    }
  }
  return handed_back;
}

bool Placement::EndedEarlyAt(const WorkerRef& worker, const std::string& job) const {
  const auto found = workers_.find(worker.id);
  return found != workers_.end() && found->second.instance == worker.instance &&
         found->second.early_jobs.count(job) > 0;
}

std::string Placement::WhyNobody(const JobNeeds& needs, const std::vector<PresentWorker>& present,
                                 absl::Duration now) const {
  if (present.empty()) return "";
  bool somebody_can = false;
  for (const PresentWorker& each : present) {
    const auto known = workers_.find(each.id);
    if (known == workers_.end()) return "";
    if (!CanServe(known->second.abilities, needs)) continue;
    if (now >= known->second.until) return "";
    somebody_can = true;
  }
  if (somebody_can) return "the workers that could take it are set aside, since they failed";
  return absl::StrCat("no worker that is connected can take it; it needs ", NeedsText(needs));
}

std::set<std::string> Placement::SetAside(absl::Duration now) const {
  std::set<std::string> ids;
  for (const auto& [id, worker] : workers_) {
    if (now < worker.until + worker.back_off) ids.insert(id);
  }
  return ids;
}

absl::Duration Placement::NextChange(absl::Duration now) const {
  absl::Duration next = absl::InfiniteDuration();
  const auto consider = [&](absl::Duration moment) {
    if (moment > now) next = std::min(next, moment);
  };
  for (const auto& [id, worker] : workers_) consider(worker.until);
  for (const auto& [name, job] : jobs_) consider(job.prefer_other_until);
  return next;
}

std::vector<std::pair<std::string, int>> Placement::TakeForgiven() {
  const std::map<std::string, int> all = std::exchange(forgiven_, {});
  return {all.begin(), all.end()};
}

std::vector<std::pair<std::string, absl::Duration>> Placement::TakeNewlySetAside() {
  return std::exchange(newly_set_aside_, {});
}

}  // namespace graft
