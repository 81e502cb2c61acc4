#include "server/scheduler/scheduler.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr int kSnapshotJobs = 32;
// A snapshot of which the worker may take none is followed by a longer one, up to this.
constexpr int kLongestSnapshot = 4096;
// Snapshots whose every job another claimed first; then the caller asks again later.
constexpr int kMaxRounds = 16;
constexpr absl::Duration kPruneInterval = absl::Hours(1);
constexpr absl::Duration kRetryAfterError = absl::Seconds(1);
// Deadlines go by the date, which somebody may set: it is looked at so often while there are any.
constexpr absl::Duration kDateInterval = absl::Minutes(1);

}  // namespace

std::vector<QueuedJob> RankQueue(std::vector<QueuedJob> snapshot, absl::Duration now) {
  snapshot.erase(std::remove_if(snapshot.begin(), snapshot.end(),
                                [&](const QueuedJob& job) { return job.not_before > now; }),
                 snapshot.end());
  std::sort(snapshot.begin(), snapshot.end(), [](const QueuedJob& a, const QueuedJob& b) {
    return std::tuple(-int64_t{a.priority}, a.number) < std::tuple(-int64_t{b.priority}, b.number);
  });
  return snapshot;
}

Scheduler::Scheduler(JobStore& store, Clock& clock, const Options& options)
    : store_(store), clock_(clock), options_(options) {
  subscription_ = store.Subscribe("", [this](const JobChange& change) {
    MutexLock lock(mutex_);
    placement_.Changed(change, clock_.Boottime());
    purge_ |= change.deleted;
  });
}

void Scheduler::SetPresentWorkers(PresentWorkers present) {
  MutexLock lock(mutex_);
  present_ = std::move(present);
}

std::vector<PresentWorker> Scheduler::Present() const {
  PresentWorkers present;
  {
    MutexLock lock(mutex_);
    present = present_;
  }
  return present == nullptr ? std::vector<PresentWorker>() : present();
}

std::vector<QueuedJob> Scheduler::Offer(const WorkerRef& worker, std::vector<QueuedJob> ranked,
                                        const std::vector<PresentWorker>& present) const {
  MutexLock lock(mutex_);
  const absl::Duration now = clock_.Boottime();
  std::vector<QueuedJob> offered, rather_others;
  for (QueuedJob& job : ranked) {
    if (!placement_.MayTake(worker, job, present, now)) continue;
    auto& list = placement_.EndedEarlyAt(worker, job.name) ? rather_others : offered;
    list.push_back(std::move(job));
  }
  std::move(rather_others.begin(), rather_others.end(), std::back_inserter(offered));
  return offered;
}

absl::StatusOr<std::optional<Claim>> Scheduler::LeaseJob(const WorkerRef& worker,
                                                         const std::string& request_id,
                                                         std::optional<Abilities> abilities) {
  if (!request_id.empty()) {
    absl::StatusOr<Claim> claim = store_.FindClaim(worker, request_id);
    if (claim.ok()) return std::optional<Claim>(*std::move(claim));
    if (!absl::IsNotFound(claim.status())) return claim.status();
  }
  {
    MutexLock lock(mutex_);
    placement_.Asked(worker, abilities, clock_.Boottime());
    if (placement_.IsSetAside(worker, clock_.Boottime())) return std::optional<Claim>();
  }
  const std::vector<PresentWorker> present = Present();
  const auto can_serve = [&](const JobNeeds& needs) { return CanServe(abilities, needs); };
  int limit = kSnapshotJobs;
  for (int round = 0; round < kMaxRounds; ++round) {
    ASSIGN_OR_RETURN(std::vector<QueuedJob> snapshot, store_.QueuedJobs(limit, can_serve));
    const bool more = snapshot.size() == static_cast<size_t>(limit);
    const std::vector<QueuedJob> offered =
        Offer(worker, RankQueue(std::move(snapshot), clock_.Boottime()), present);
    for (const QueuedJob& job : offered) {
      absl::StatusOr<Claim> claim = store_.ClaimJob({job.name, job.version, worker, request_id});
      if (claim.ok()) return std::optional<Claim>(*std::move(claim));
      // Claimed by another, cancelled or deleted since the snapshot.
      if (absl::IsAborted(claim.status()) || absl::IsNotFound(claim.status())) continue;
      return claim.status();
    }
    if (!offered.empty()) continue;
    if (!more || limit >= kLongestSnapshot) break;
    limit *= 4;
  }
  return std::optional<Claim>();
}

std::string Scheduler::WhyItWaits(const JobNeeds& needs) const {
  const std::vector<PresentWorker> present = Present();
  MutexLock lock(mutex_);
  return placement_.WhyNobody(needs, present, clock_.Boottime());
}

Workforce Scheduler::LookAtWorkforce() const {
  std::vector<PresentWorker> present = Present();
  std::sort(present.begin(), present.end(),
            [](const PresentWorker& a, const PresentWorker& b) { return a.id < b.id; });
  MutexLock lock(mutex_);
  Workforce workforce;
  for (PresentWorker& worker : present) {
    Placement::Standing standing = placement_.StandingOf(worker.id, clock_.Boottime());
    workforce.workers.push_back({std::move(worker), std::move(standing)});
  }
  workforce.handed_back = placement_.HandedBack();
  return workforce;
}

std::set<std::string> Scheduler::SetAside() const {
  MutexLock lock(mutex_);
  return placement_.SetAside(clock_.Boottime());
}

absl::Status Scheduler::ForgiveFailures() {
  std::vector<std::pair<std::string, int>> forgiven;
  {
    MutexLock lock(mutex_);
    forgiven = placement_.TakeForgiven();
  }
  absl::Status status;
  for (const auto& [job, failures] : forgiven) {
    const absl::Status done = store_.ForgiveFailures(job, failures);
    // Deleted meanwhile.
    if (done.ok() || absl::IsNotFound(done)) continue;
    status.Update(done);
    MutexLock lock(mutex_);
    placement_.PutBackForgiven(job, failures);
  }
  return status;
}

absl::Status Scheduler::Prune(absl::Duration now) {
  {
    MutexLock lock(mutex_);
    if (now < next_prune_) return absl::OkStatus();
  }
  absl::Status pruned = store_.PruneCheckpoints().status();  // The first, as it makes room.
  pruned.Update(store_.PruneRequestIds().status());
  RETURN_IF_ERROR(pruned);
  MutexLock lock(mutex_);
  next_prune_ = now + kPruneInterval;
  return absl::OkStatus();
}

absl::Status Scheduler::Purge() {
  {
    MutexLock lock(mutex_);
    if (!std::exchange(purge_, false)) return absl::OkStatus();
  }
  const absl::StatusOr<bool> more = store_.PurgeDeleted();
  MutexLock lock(mutex_);
  purge_ |= more.value_or(true);
  return more.status();
}

absl::StatusOr<std::vector<QueuedJob>> Scheduler::Servable(
    const std::vector<PresentWorker>& present, absl::Duration now) {
  // Copied: the store asks under a lock of its own.
  std::vector<std::optional<Abilities>> abilities;
  {
    MutexLock lock(mutex_);
    for (const PresentWorker& each : present) abilities.push_back(placement_.AbilitiesOf(each.id));
  }
  const auto servable = [&](const JobNeeds& needs) {
    return std::any_of(abilities.begin(), abilities.end(),
                       [&](const auto& able) { return CanServe(able, needs); });
  };
  ASSIGN_OR_RETURN(std::vector<QueuedJob> queued, store_.QueuedJobs(kSnapshotJobs, servable));
  return RankQueue(std::move(queued), now);
}

bool Scheduler::TakeOpenSlot(const QueuedJob& job, absl::Duration now,
                             std::map<std::string, int>& open_slots) const {
  MutexLock lock(mutex_);
  for (auto& [worker, slots] : open_slots) {
    if (slots <= 0 || !placement_.WouldTake(worker, job, now)) continue;
    --slots;
    return true;
  }
  return false;
}

HeldJobView* Scheduler::FindVictim(const QueuedJob& job, absl::Duration now,
                                   const std::map<std::string, int>& open_slots,
                                   std::vector<HeldJobView>& held) const {
  MutexLock lock(mutex_);
  HeldJobView* victim = nullptr;
  const auto rank = [](const HeldJobView& each) { return std::pair(each.priority, -each.number); };
  for (HeldJobView& each : held) {
    const bool may = each.state == v1::JOB_STATE_RUNNING && each.priority < job.priority &&
                     each.preempted_by.empty() && !made_way_.contains(each.name) &&
                     open_slots.contains(each.worker) &&
                     placement_.IsSureToTake(each.worker, job, now);
    if (may && (victim == nullptr || rank(each) < rank(*victim))) victim = &each;
  }
  return victim;
}

absl::Status Scheduler::RememberWhoMadeWay(absl::Duration now) {
  std::erase_if(made_way_,
                [&](const auto& one) { return one.second + kPreemptionInterval <= now; });
  if (made_way_known_) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<HeldJobView> held, store_.HeldJobs());
  for (const HeldJobView& each : held) {
    if (!each.preempted_by.empty()) made_way_[each.name] = now;
  }
  made_way_known_ = true;
  return absl::OkStatus();
}

// Slots are counted by leases: what a worker says of its own comes later than the store's changes.
// One whose job ends soon (is paused or cancelled, or makes way) is open already; but not for
// longer than the interval, as there are workers that know no pause.
absl::Status Scheduler::Preempt(absl::Duration now, Upkeep& upkeep) {
  RETURN_IF_ERROR(RememberWhoMadeWay(now));
  const std::vector<PresentWorker> present = Present();
  ASSIGN_OR_RETURN(const std::vector<QueuedJob> queued, Servable(present, now));
  if (queued.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::vector<HeldJobView> held, store_.HeldJobs());
  const auto ends_soon = [&](const HeldJobView& each) {
    return each.state != v1::JOB_STATE_RUNNING ||
           (!each.preempted_by.empty() && made_way_.contains(each.name));
  };
  std::map<std::string, int> open_slots;
  for (const PresentWorker& worker : present) open_slots[worker.id] = worker.slots;
  for (const HeldJobView& each : held) {
    const auto worker = open_slots.find(each.worker);
    if (worker != open_slots.end() && !ends_soon(each)) --worker->second;
  }
  for (const QueuedJob& job : queued) {
    // One that is away for a moment may be making way for it.
    const bool under_way = std::any_of(held.begin(), held.end(), [&](const HeldJobView& each) {
      return each.preempted_by == job.name && !open_slots.contains(each.worker) && ends_soon(each);
    });
    if (under_way || TakeOpenSlot(job, now, open_slots)) continue;
    HeldJobView* const victim = FindVictim(job, now, open_slots, held);
    if (victim == nullptr) continue;
    const absl::Status preempted = store_.PreemptJob(*victim, job.name);
    // Either has changed meanwhile, which ticks again.
    if (absl::IsFailedPrecondition(preempted) || absl::IsNotFound(preempted)) continue;
    RETURN_IF_ERROR(preempted);
    victim->preempted_by = job.name;
    made_way_[victim->name] = now;
    upkeep.preempted.push_back(*victim);
  }
  return absl::OkStatus();
}

absl::Status Scheduler::DoUpkeep(Upkeep& upkeep) {
  const absl::Duration now = clock_.Boottime();
  // What it cannot write waits; all else goes on.
  absl::Status unwritten = store_.EndOverdue().status();
  ASSIGN_OR_RETURN(upkeep.expired, store_.ExpireLeases());
  RETURN_IF_ERROR(ForgiveFailures());
  RETURN_IF_ERROR(Prune(now));
  if (options_.preemption) unwritten.Update(Preempt(now, upkeep));
  ASSIGN_OR_RETURN(const std::vector<QueuedJob> queued, store_.QueuedJobs(1));
  upkeep.work_available = !queued.empty();
  ASSIGN_OR_RETURN(const absl::Duration expiry, store_.NextExpiry());
  ASSIGN_OR_RETURN(const absl::Time deadline, store_.NextDeadline());
  RETURN_IF_ERROR(Purge());
  MutexLock lock(mutex_);
  upkeep.next = std::min({next_prune_, expiry, store_.NextRetry(), placement_.NextChange(now)});
  if (deadline < absl::InfiniteFuture()) {
    upkeep.next = std::min(upkeep.next, now + std::min(deadline - clock_.Now(), kDateInterval));
  }
  // One that made way lately may do so again then.
  for (const auto& [job, made_way] : made_way_) {
    upkeep.next = std::min(upkeep.next, made_way + kPreemptionInterval);
  }
  // Leases are looked at in between.
  if (purge_) upkeep.next = now;
  return unwritten;
}

Upkeep Scheduler::Tick() {
  Upkeep upkeep;
  {
    MutexLock lock(mutex_);
    upkeep.set_aside = placement_.TakeNewlySetAside();
  }
  upkeep.status = DoUpkeep(upkeep);
  if (!upkeep.status.ok()) upkeep.next = clock_.Boottime() + kRetryAfterError;
  return upkeep;
}

}  // namespace graft
