#pragma once

// The seam for time. Wall time is for people (create_time, logs); whatever is decided by time
// (leases, deadlines, back-off) uses the monotonic clock, which a change of the system's date does
// not move.

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace graft {

class Clock {
 public:
  virtual ~Clock() = default;
  // Wall-clock time, for display and records only.
  virtual absl::Time Now() = 0;
  // Time since boot, suspended time included (CLOCK_BOOTTIME): the same origin in all processes of
  // one machine.
  virtual absl::Duration Boottime() = 0;

  static Clock& Real();
};

// A clock that stands still until Advance. Thread-safe.
class FakeClock : public Clock {
 public:
  explicit FakeClock(absl::Time start = absl::FromUnixSeconds(1'750'000'000)) : now_(start) {}
  absl::Time Now() override {
    MutexLock lock(mutex_);
    return now_;
  }
  absl::Duration Boottime() override {
    MutexLock lock(mutex_);
    return boottime_;
  }
  void Advance(absl::Duration step) {
    MutexLock lock(mutex_);
    now_ += step;
    boottime_ += step;
  }

 private:
  Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_);
  absl::Duration boottime_ ABSL_GUARDED_BY(mutex_) = absl::Seconds(1000);
};

}  // namespace graft
