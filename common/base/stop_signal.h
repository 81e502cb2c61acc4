#pragma once

// "It is over": set once, by anyone, and waited for by the threads that it concerns.

#include <algorithm>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace graft {

// Thread-safe.
class StopSignal {
 public:
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    stopped_ = true;
    condition_.NotifyAll();
  }
  bool stopped() const ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    return stopped_;
  }
  // Sleeps, but not beyond Stop(). Returns true when stopped.
  bool WaitFor(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::Time deadline = absl::Now() + timeout;
    MutexLock lock(mutex_);
    while (!stopped_) {
      const absl::Duration left = deadline - absl::Now();
      if (left <= absl::ZeroDuration()) return false;
      condition_.WaitFor(mutex_, std::min(left, absl::Hours(1)));
    }
    return true;
  }

 private:
  mutable Mutex mutex_;
  CondVar condition_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace graft
