#pragma once

// One place that tries again: calls that failed because the server is away.

#include <algorithm>
#include <functional>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/rpc/status.h"
#include "grpcpp/support/status.h"

namespace graft {

// How a call ended. A server that is going away answers what reaches it too late with CANCELLED,
// though only the caller cancels: to be tried again like any other absence.
inline absl::Status EndOf(const grpc::Status& status, bool cancelled_here = false) {
  absl::Status end = FromGrpcStatus(status);
  if (!absl::IsCancelled(end) || cancelled_here) return end;
  return absl::UnavailableError("the server is going away");
}

// Calls `call` until it returns anything but UNAVAILABLE, or `patience` has passed since the first
// try; returns its last status.
inline absl::Status RetryUnavailable(absl::Duration patience,
                                     const std::function<absl::Status()>& call) {
  absl::BitGen random;
  Clock& clock = Clock::Real();
  const absl::Duration deadline = clock.Boottime() + patience;
  absl::Duration delay = absl::Milliseconds(50);
  for (;;) {
    absl::Status status = call();
    if (!absl::IsUnavailable(status) || clock.Boottime() + delay > deadline) return status;
    clock.SleepFor(delay * absl::Uniform(random, 0.5, 1.0));
    delay = std::min(delay * 1.6, absl::Duration(absl::Seconds(2)));
  }
}

}  // namespace graft
