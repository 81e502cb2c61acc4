#pragma once

// What is sent and received on streams, without gRPC: rpc/streams.h turns it into calls.
//
//   server streams  a MessageSource is asked for the next message when the last one was written:
//                   one write in flight, and a slow reader costs its own stream one message of
//                   memory. A source that has nothing says kWait and is asked again after a Wake.
//   client streams  a MessageSink is handed one message at a time.
//
// Their code may block: it runs on an executor.

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "server/streams/wanted.h"

namespace graft {

// Wakes a stream from any thread as long as there is one; afterwards does nothing.
class StreamWaker {
 public:
  explicit StreamWaker(std::function<void()> wake) : wake_(std::move(wake)) {}
  void Wake() {
    MutexLock lock(mutex_);
    // Under the lock, so that the stream cannot go meanwhile; it only marks itself and takes a turn
    // in the executor.
    if (wake_) wake_();
  }
  void Detach() {
    MutexLock lock(mutex_);
    wake_ = nullptr;
  }

 private:
  Mutex mutex_;
  std::function<void()> wake_ ABSL_GUARDED_BY(mutex_);
};

enum class SourceState { kMessage, kWait, kEnd };

// Used by one thread at a time, not always the same.
template <typename Message>
class MessageSource {
 public:
  virtual ~MessageSource() = default;
  // kMessage: `message` (empty when called) is the next one. kWait: none now; whoever has one wakes
  // the stream's waker. kEnd: no more. An error ends the stream with it.
  virtual absl::StatusOr<SourceState> Next(Message* message) = 0;
};

// Used by one thread at a time, not always the same. Destroyed without OnEnd when the stream broke:
// it must leave nothing behind.
template <typename Request>
class MessageSink {
 public:
  virtual ~MessageSink() = default;
  // An error ends the stream with it.
  virtual absl::Status OnMessage(Request& message) = 0;
  // The caller has sent all; whether he waits for the answer, `gone` tells.
  virtual absl::Status OnEnd(const Gone& gone) = 0;
};

}  // namespace graft
