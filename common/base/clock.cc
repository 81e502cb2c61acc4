#include "common/base/clock.h"

#include <algorithm>
#include <ctime>

namespace graft {
namespace {

class RealClock : public Clock {
 public:
  absl::Time Now() override { return absl::Now(); }
  absl::Duration Boottime() override {
    timespec time;
    clock_gettime(CLOCK_BOOTTIME, &time);
    return absl::DurationFromTimespec(time);
  }

 protected:
  absl::Duration wait_slice() const override { return absl::Seconds(1); }
};

}  // namespace

bool Clock::WaitUntil(CondVar& changed, Mutex& mutex, absl::Duration deadline) {
  const absl::Duration left = deadline - Boottime();
  if (left <= absl::ZeroDuration()) return false;
  changed.WaitFor(mutex, std::min(left, wait_slice()));
  return true;
}

void Clock::SleepFor(absl::Duration duration) {
  const absl::Duration deadline = Boottime() + duration;
  Mutex mutex;
  CondVar nothing;
  MutexLock lock(mutex);
  while (WaitUntil(nothing, mutex, deadline)) {
  }
}

Clock& Clock::Real() {
  static RealClock clock;
  return clock;
}

}  // namespace graft
