#pragma once

// Decides which job runs next and what time has ended. It ranks a snapshot of the queue and claims
// by compare-and-set, so that several may work on one store; it keeps no state that the store has
// not. No gRPC, no SQL, no thread of its own (see scheduler_loop.h).

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "server/store/job_store.h"

namespace graft {

// The jobs that may run at `now` (Boottime), best first: greater priority, then earlier submission.
std::vector<QueuedJob> RankQueue(std::vector<QueuedJob> snapshot, absl::Duration now);

// What Tick found.
struct Upkeep {
  std::vector<std::string> expired;  // Jobs whose lease has ended.
  bool work_available = false;       // Some job may be claimed now.
  // Boottime at which there will be something to do unless something changes before;
  // InfiniteDuration: nothing.
  absl::Duration next;
};

// Thread-safe.
class Scheduler {
 public:
  // Both must outlive it.
  Scheduler(JobStore& store, Clock& clock) : store_(store), clock_(clock) {}

  // Claims the best job for the worker; nothing when none may run. The same request_id again
  // answers the same claim while its lease lasts. Errors are the store's.
  absl::StatusOr<std::optional<Claim>> LeaseJob(const WorkerRef& worker,
                                                const std::string& request_id);

  // Ends leases whose time has passed and forgets old answers. To be called at Upkeep.next, and
  // when a job changed its state.
  absl::StatusOr<Upkeep> Tick();

 private:
  JobStore& store_;
  Clock& clock_;
  Mutex mutex_;
  absl::Duration next_prune_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
