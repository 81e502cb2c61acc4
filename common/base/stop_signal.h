#pragma once

// "It is over": set once, by anyone, and waited for by the threads that it concerns.

#include <functional>
#include <list>
#include <utility>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace graft {

// Thread-safe.
class StopSignal {
 public:
  // Ends what only its owner can end, such as a call to a server: Stop() calls `on_stop`, or the
  // constructor does when that has been. It must not block nor use the signal. Never runs after the
  // destructor.
  class Callback {
   public:
    Callback(StopSignal& signal, std::function<void()> on_stop)
        : signal_(signal), place_(signal.Add(std::move(on_stop))) {}
    ~Callback() { signal_.Remove(place_); }
    Callback(const Callback&) = delete;
    Callback& operator=(const Callback&) = delete;

   private:
    StopSignal& signal_;
    const std::list<std::function<void()>>::iterator place_;
  };

  // Waits go by `clock`, which outlives it.
  explicit StopSignal(Clock& clock = Clock::Real()) : clock_(clock) {}

  void Stop() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    if (std::exchange(stopped_, true)) return;
    condition_.NotifyAll();
    for (const auto& on_stop : callbacks_) on_stop();
  }
  bool stopped() const ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    return stopped_;
  }
  // Sleeps, but not beyond Stop(). Returns true when stopped.
  bool WaitFor(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_) {
    return WaitUntil(clock_.Boottime() + timeout);
  }
  // The same until a moment of Boottime().
  bool WaitUntil(absl::Duration deadline) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    while (!stopped_ && clock_.WaitUntil(condition_, mutex_, deadline)) {
    }
    return stopped_;
  }

 private:
  std::list<std::function<void()>>::iterator Add(std::function<void()> on_stop)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    if (stopped_) on_stop();
    return callbacks_.insert(callbacks_.end(), std::move(on_stop));
  }
  void Remove(std::list<std::function<void()>>::iterator place) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    callbacks_.erase(place);
  }

  Clock& clock_;
  mutable Mutex mutex_;
  CondVar condition_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::list<std::function<void()>> callbacks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
