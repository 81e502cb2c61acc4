#pragma once

#include <functional>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace graft {

// Waits for something that another process does and tells nobody: at most 30 s. False: in vain.
inline bool WaitUntil(const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  Mutex mutex;
  CondVar never;
  MutexLock lock(mutex);
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    never.WaitFor(mutex, absl::Milliseconds(5));
  }
  return true;
}

}  // namespace graft
