#pragma once

#include <functional>
#include <thread>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "worker/engine/run/job_control.h"

namespace graft {

// Has a job's progress reported while its pulse moves, whatever its own thread is doing: so a phase
// without events is seen to work, and a computation that hangs to stand still.
class PulseReporter {
 public:
  static constexpr absl::Duration kInterval = absl::Seconds(2);

  // Calls `report`, on a thread of its own, after every interval in which the pulse of `control`
  // moved, or it came to its fence or went on from there. Both outlive this.
  PulseReporter(JobControl& control, std::function<void()> report, Clock& clock = Clock::Real());
  ~PulseReporter();

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  // False: this ends.
  bool WaitForInterval() ABSL_LOCKS_EXCLUDED(mutex_);

  JobControl& control_;
  const std::function<void()> report_;
  Clock& clock_;
  Mutex mutex_;
  CondVar changed_;
  bool ends_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // Last: it uses everything above.
};

}  // namespace graft
