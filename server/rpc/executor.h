#pragma once

#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/mutex.h"

namespace graft {

// The threads on which the services do what may block (store, disk): gRPC's own threads must not.
// Thread-safe.
//
// Owns its threads and joins them in the destructor, after everything that was accepted has run.
class Executor {
 public:
  // `name`: at most 12 characters are shown as the threads' name. `max_queued`: tasks that wait at
  // the most, see TrySchedule.
  Executor(const std::string& name, int threads, size_t max_queued);
  ~Executor();
  Executor(const Executor&) = delete;

  // Runs `task` on one of the threads. False, and nothing happens, when max_queued tasks wait
  // already: overload is refused.
  [[nodiscard]] bool TrySchedule(std::function<void()> task);
  // Never refuses: for the next turn of a stream that was admitted, each of which waits here at
  // most once.
  void Schedule(std::function<void()> task);

  size_t queued() const;

 private:
  void Work();

  const size_t max_queued_;
  mutable Mutex mutex_;
  CondVar wakeup_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace graft
