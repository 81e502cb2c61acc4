#pragma once

// Signals of the terminal: Ctrl-C ends the program, or, while a stream is followed, only the
// stream; a change of the window's size makes what is redrawn be redrawn.

#include <atomic>
#include <functional>
#include <thread>

#include "client/api_client.h"
#include "common/base/mutex.h"

namespace graft {

// Blocks the signals that an InterruptWaiter takes. main calls it before anything starts a thread
// (gRPC does).
void BlockInterrupts();

// Takes Ctrl-C from its creation to its end, in a thread of its own.
class InterruptWaiter {
 public:
  explicit InterruptWaiter(ApiClient& client);
  ~InterruptWaiter();
  InterruptWaiter(const InterruptWaiter&) = delete;

  // From here on the first Ctrl-C ends the client's streams; another one ends the program.
  void EndStreamsFirst() { graceful_ = true; }
  bool interrupted() const { return interrupted_; }

  // From here on `tick` is called once a second and after each change of the window's size, on the
  // waiter's thread. Empty: no more; afterwards the one before is not running.
  void SetTick(std::function<void()> tick) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run();
  void Tick() ABSL_LOCKS_EXCLUDED(mutex_);

  ApiClient& client_;
  std::atomic<bool> graceful_ = false;
  std::atomic<bool> interrupted_ = false;
  Mutex mutex_;
  std::function<void()> tick_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace graft
