#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <string>
#include <thread>

#include "common/base/delimited_stream.h"
#include "common/base/mutex.h"
#include "graft/engine/v1/engine.pb.h"

namespace graft {

// The engine's way out: events wait in a bounded queue, and one thread writes them. Thread-safe.
class EventChannel {
 public:
  static constexpr size_t kMaxQueued = 4096;  // Messages; then Send blocks.

  // `fd` is not owned. `on_broken` is called once, on the writing thread, when the peer is gone.
  EventChannel(int fd, std::function<void()> on_broken);
  // Writes what is queued, then ends.
  ~EventChannel();

  void Send(const engine::v1::EngineEvent& event) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);

  DelimitedWriter writer_;
  const std::function<void()> on_broken_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<std::string> queue_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace graft
