#pragma once

// Decides which job runs next and what time has ended. It ranks a snapshot of the queue and claims
// by compare-and-set, so that several may work on one store. What it knows of workers (placement.h)
// is no more than advice: the store holds all that must be right. No gRPC, no SQL, no thread of its
// own (see scheduler_loop.h).

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "server/scheduler/placement.h"
#include "server/store/job_store.h"

namespace graft {

// The jobs that may run at `now` (Boottime), best first: greater priority, then earlier submission.
std::vector<QueuedJob> RankQueue(std::vector<QueuedJob> snapshot, absl::Duration now);

// What Tick found.
struct Upkeep {
  // The store's error, if something is left to do again; the rest is told all the same.
  absl::Status status;
  std::vector<std::string> expired;  // Jobs whose lease has ended.
  bool work_available = false;       // Some job may be claimed now.
  // Workers that were set aside, and for how long.
  std::vector<std::pair<std::string, absl::Duration>> set_aside;
  std::vector<HeldJobView> preempted;  // Jobs that make way from now on; their workers are to hear.
  // Boottime at which there will be something to do unless something changes before (a second
  // after an error); InfiniteDuration: nothing.
  absl::Duration next;
};

// The workers that are connected, as placement knows them at one moment.
struct Workforce {
  struct Worker {
    PresentWorker present;
    Placement::Standing standing;
  };
  std::vector<Worker> workers;                                // By id.
  std::set<std::pair<std::string, std::string>> handed_back;  // Placement::HandedBack.
};

// A job makes way at most once in so long.
inline constexpr absl::Duration kPreemptionInterval = absl::Minutes(10);

// Thread-safe.
class Scheduler {
 public:
  using PresentWorkers = std::function<std::vector<PresentWorker>()>;
  struct Options {
    // A queued job that no free worker takes has a running one of lower priority make way: that of
    // the lowest, the youngest of several, on a worker that would take it.
    bool preemption = false;
  };

  // Both must outlive it.
  Scheduler(JobStore& store, Clock& clock) : Scheduler(store, clock, Options()) {}
  Scheduler(JobStore& store, Clock& clock, const Options& options);

  // Who tells of the workers that are connected now; without one nobody else is. Called under no
  // lock.
  void SetPresentWorkers(PresentWorkers present);

  // Claims the best job that the worker can do and may take (placement.h); nothing when there is
  // none. The same request_id again answers the same claim while its lease lasts. Errors are the
  // store's.
  absl::StatusOr<std::optional<Claim>> LeaseJob(const WorkerRef& worker,
                                                const std::string& request_id,
                                                std::optional<Abilities> abilities);

  // Why none of the workers that are connected takes a queued job with these needs; empty: one may,
  // or nobody is there at all.
  std::string WhyItWaits(const JobNeeds& needs) const;
  // For those who tell people why a job waits.
  Workforce LookAtWorkforce() const;
  // Ids of workers that were set aside and have made no progress since (Placement::SetAside).
  std::set<std::string> SetAside() const;

  // Ends leases whose time has passed, forgets old answers and what deleted jobs left. To be called
  // at Upkeep.next, and when a job changed its state.
  Upkeep Tick();

 private:
  // Tick without what the store has no part in.
  absl::Status DoUpkeep(Upkeep& upkeep);
  // Tells the store. What fails is forgiven the next time.
  absl::Status ForgiveFailures();
  absl::Status Prune(absl::Duration now);
  absl::Status Preempt(absl::Duration now, Upkeep& upkeep);
  // Those that made way in the last interval, as far as it is known: a job that was making way when
  // the server started does so from then on.
  absl::Status RememberWhoMadeWay(absl::Duration now);
  // Queued jobs that somebody who is present may be able to do, best first.
  absl::StatusOr<std::vector<QueuedJob>> Servable(const std::vector<PresentWorker>& present,
                                                  absl::Duration now);
  // Takes the slot of a worker that has one open and would take the job. False: nobody has.
  bool TakeOpenSlot(const QueuedJob& job, absl::Duration now,
                    std::map<std::string, int>& open_slots) const;
  // Who makes way for the job, of those whose workers are among `open_slots`; nullptr: nobody.
  HeldJobView* FindVictim(const QueuedJob& job, absl::Duration now,
                          const std::map<std::string, int>& open_slots,
                          std::vector<HeldJobView>& held) const;
  // Some of what deleted jobs left.
  absl::Status Purge();
  std::vector<PresentWorker> Present() const;
  // Those that the worker may take, best first.
  std::vector<QueuedJob> Offer(const WorkerRef& worker, std::vector<QueuedJob> ranked,
                               const std::vector<PresentWorker>& present) const;

  JobStore& store_;
  Clock& clock_;
  const Options options_;
  // Both are Tick's own. When jobs made way, in the last interval; and whether those are among them
  // that the server before had make way.
  std::map<std::string, absl::Duration> made_way_;
  bool made_way_known_ = false;
  mutable Mutex mutex_;
  PresentWorkers present_ ABSL_GUARDED_BY(mutex_);
  Placement placement_ ABSL_GUARDED_BY(mutex_);
  absl::Duration next_prune_ ABSL_GUARDED_BY(mutex_);
  // Deleted jobs have left something; perhaps those of the server before, too.
  bool purge_ ABSL_GUARDED_BY(mutex_) = true;
  std::unique_ptr<Subscription> subscription_;
};

}  // namespace graft
