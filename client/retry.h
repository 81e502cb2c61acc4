#pragma once

// One place that tries again: calls that failed because the server is away.

#include <algorithm>
#include <functional>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace graft {

// Calls `call` until it returns anything but UNAVAILABLE, or `patience` has passed since the first
// try; returns its last status.
inline absl::Status RetryUnavailable(absl::Duration patience,
                                     const std::function<absl::Status()>& call) {
  absl::BitGen random;
  const absl::Time deadline = absl::Now() + patience;
  absl::Duration delay = absl::Milliseconds(50);
  for (;;) {
    absl::Status status = call();
    if (!absl::IsUnavailable(status) || absl::Now() + delay > deadline) return status;
    absl::SleepFor(delay * absl::Uniform(random, 0.5, 1.0));
    delay = std::min(delay * 1.6, absl::Duration(absl::Seconds(2)));
  }
}

}  // namespace graft
