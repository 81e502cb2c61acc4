#pragma once

#include <thread>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/stop_signal.h"

namespace graft {

inline constexpr int kStopTimeoutExitCode = 87;

// Ends the process when it has not ended by itself in time: a disk that hangs, or work that nobody
// can break off, must not outlast what was promised to whoever stops it. Says so, at the most for a
// second, and exits with kStopTimeoutExitCode; the store holds everything that was acknowledged.
// Declared before all that it watches over, so that it is destroyed last. Owns one thread.
class ExitDeadline {
 public:
  ExitDeadline(Clock& clock, absl::Duration after);
  ~ExitDeadline();

 private:
  StopSignal over_;
  std::thread thread_;
};

}  // namespace graft
