#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <utility>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// What other threads want of a running job: to stop, to pause, to save its state, or to work until
// a moment only (the fence). Poll belongs to the training thread and beats the pulse, the rest to
// any.
class JobControl : public StopToken {
 public:
  explicit JobControl(Clock& clock = Clock::Real()) : clock_(clock) {}

  void Cancel() ABSL_LOCKS_EXCLUDED(mutex_);
  void Pause() { paused_ = true; }
  void RequestCheckpoint(int64_t step) { requested_checkpoint_ = step; }
  // A moment of CLOCK_BOOTTIME; 0: no limit.
  void SetFence(int64_t boottime_ns) ABSL_LOCKS_EXCLUDED(mutex_);

  // What the training thread does in each Poll that lets the job go on: something for others, which
  // must leave the job's numbers alone. It may take long, as the fence and a cancel are looked at
  // after it again; it asks with Check. Set by the training thread.
  void SetBetween(std::function<void()> between) { between_ = std::move(between); }

  // CANCELLED after Cancel, PausedStatus after Pause. Blocks from the fence on, until it is moved
  // ahead or the job cancelled.
  absl::Status Poll() override ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t RequestedCheckpoint() override { return requested_checkpoint_; }
  // The same, but nothing is done for others.
  absl::Status Check() ABSL_LOCKS_EXCLUDED(mutex_);
  // Is it blocked there now?
  bool waiting() const { return waiting_; }

 private:
  bool Fenced() const;

  Clock& clock_;
  std::function<void()> between_;
  // Written under the mutex, so that no wake-up is lost; read without, once a step.
  std::atomic<bool> cancelled_ = false;
  std::atomic<bool> paused_ = false;
  std::atomic<int64_t> requested_checkpoint_ = 0;
  std::atomic<bool> waiting_ = false;
  std::atomic<int64_t> fence_ns_ = std::numeric_limits<int64_t>::max();
  Mutex mutex_;
  CondVar changed_;
};

}  // namespace graft
