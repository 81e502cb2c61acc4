#pragma once

// The seam for time. Wall time is for people (create_time, logs); whatever is decided by time
// (waits, leases, deadlines, back-off, ages) uses the time since boot, which a change of the
// system's date does not move and which goes on while the machine sleeps.

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace graft {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Wall-clock time, for display and records only.
  virtual absl::Time Now() = 0;
  // Time since boot, suspended time included (CLOCK_BOOTTIME): the same origin in all processes of
  // one machine.
  virtual absl::Duration Boottime() = 0;
  // Waits for a notification of `changed`, at the most until Boottime() is `deadline`. False: it
  // is. Returns early now and then, so it stands in a loop over the guarded state:
  //   while (!done_ && clock.WaitUntil(changed_, mutex_, deadline)) {}
  bool WaitUntil(CondVar& changed, Mutex& mutex, absl::Duration deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void SleepFor(absl::Duration duration);

  static Clock& Real();

 protected:
  // How long a wait may last before it looks at Boottime() again: condition variables know a clock
  // that stands still while the machine sleeps, and none that a test moves.
  virtual absl::Duration wait_slice() const = 0;
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
  // Somebody sets the system's date.
  void MoveWallClock(absl::Duration step) {
    MutexLock lock(mutex_);
    now_ += step;
  }

 protected:
  absl::Duration wait_slice() const override { return absl::Milliseconds(1); }

 private:
  Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_);
  absl::Duration boottime_ ABSL_GUARDED_BY(mutex_) = absl::Seconds(1000);
};

}  // namespace graft
