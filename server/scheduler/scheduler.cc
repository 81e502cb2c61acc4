#include "server/scheduler/scheduler.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr int kSnapshotJobs = 32;
// Snapshots whose every job another claimed first; then the caller asks again later.
constexpr int kMaxRounds = 16;
constexpr absl::Duration kPruneInterval = absl::Hours(1);

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

absl::StatusOr<std::optional<Claim>> Scheduler::LeaseJob(const WorkerRef& worker,
                                                         const std::string& request_id) {
  if (!request_id.empty()) {
    absl::StatusOr<Claim> claim = store_.FindClaim(worker, request_id);
    if (claim.ok()) return std::optional<Claim>(*std::move(claim));
    if (!absl::IsNotFound(claim.status())) return claim.status();
  }
  for (int round = 0; round < kMaxRounds; ++round) {
    ASSIGN_OR_RETURN(std::vector<QueuedJob> snapshot, store_.QueuedJobs(kSnapshotJobs));
    const std::vector<QueuedJob> ranked = RankQueue(std::move(snapshot), clock_.Boottime());
    if (ranked.empty()) return std::optional<Claim>();
    for (const QueuedJob& job : ranked) {
      absl::StatusOr<Claim> claim = store_.ClaimJob({job.name, job.version, worker, request_id});
      if (claim.ok()) return std::optional<Claim>(*std::move(claim));
      // Claimed by another, cancelled or deleted since the snapshot.
      if (absl::IsAborted(claim.status()) || absl::IsNotFound(claim.status())) continue;
      return claim.status();
    }
  }
  return std::optional<Claim>();
}

absl::StatusOr<Upkeep> Scheduler::Tick() {
  Upkeep upkeep;
  const absl::Duration now = clock_.Boottime();
  ASSIGN_OR_RETURN(upkeep.expired, store_.ExpireLeases());
  bool prune = false;
  {
    MutexLock lock(mutex_);
    prune = now >= next_prune_;
    if (prune) next_prune_ = now + kPruneInterval;
    upkeep.next = next_prune_;
  }
  if (prune) RETURN_IF_ERROR(store_.PruneRequestIds().status());
  ASSIGN_OR_RETURN(const std::vector<QueuedJob> queued, store_.QueuedJobs(1));
  upkeep.work_available = !queued.empty();
  ASSIGN_OR_RETURN(const absl::Duration expiry, store_.NextExpiry());
  upkeep.next = std::min({upkeep.next, expiry, store_.NextRetry()});
  return upkeep;
}

}  // namespace graft
