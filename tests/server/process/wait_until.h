#pragma once

#include <functional>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace graft {

// Waits for something that another process does and tells nobody: at most 30 s. False: in vain.
inline bool WaitUntil(const std::function<bool()>& condition) {
  Clock& clock = Clock::Real();
  const absl::Duration deadline = clock.Boottime() + absl::Seconds(30);
  while (!condition()) {
    if (clock.Boottime() > deadline) return false;
    clock.SleepFor(absl::Milliseconds(5));  // tidy: another process tells nobody.
  }
  return true;
}

}  // namespace graft
