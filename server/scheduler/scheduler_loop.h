#pragma once

// The thread that runs a Scheduler: it sleeps until the next lease or back-off ends, or a job
// changes its state.

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "server/scheduler/scheduler.h"
#include "server/store/job_store.h"

namespace graft {

// Owns its thread, which ends in the destructor.
class SchedulerLoop {
 public:
  // `on_upkeep` gets what each Tick found; it is called on the loop's thread, under no lock. Store,
  // clock and scheduler must outlive it.
  SchedulerLoop(JobStore& store, Clock& clock, Scheduler& scheduler,
                std::function<void(const Upkeep&)> on_upkeep);
  ~SchedulerLoop();

  // Ticks soon: for a clock that only tests move.
  void Wake();
  // Blocks until a whole Tick has been made that began after the call (or the loop ends).
  void AwaitTick() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run();

  Clock& clock_;
  Scheduler& scheduler_;
  const std::function<void(const Upkeep&)> on_upkeep_;
  Mutex mutex_;
  CondVar woken_;
  CondVar ticked_;
  bool wake_ ABSL_GUARDED_BY(mutex_) = true;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t begun_ticks_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t ended_ticks_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<Subscription> subscription_;
  std::thread thread_;
};

}  // namespace graft
