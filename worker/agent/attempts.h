#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "worker/agent/attempt.h"

namespace graft {

// The attempts that this worker has under way, and the timer that enforces their fences whatever a
// heartbeat is doing. Thread-safe. Owns one thread.
class Attempts {
 public:
  // Between two looks of the timer. A fence is enforced at most this much late.
  static constexpr absl::Duration kTick = absl::Milliseconds(250);

  // `clock` outlives it.
  explicit Attempts(Clock& clock);
  ~Attempts();

  void Add(const std::shared_ptr<Attempt>& attempt) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(const std::shared_ptr<Attempt>& attempt) ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<std::shared_ptr<Attempt>> All() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Null when it is not here.
  std::shared_ptr<Attempt> Find(const std::string& job, int64_t lease_epoch) const
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  StopSignal stop_;
  mutable Mutex mutex_;
  std::vector<std::shared_ptr<Attempt>> attempts_ ABSL_GUARDED_BY(mutex_);
  std::thread timer_;
};

}  // namespace graft
