#pragma once

// Ctrl-C: ends the program, or, while a stream is followed, only the stream.

#include <atomic>
#include <thread>

#include "client/api_client.h"

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

 private:
  void Run();

  ApiClient& client_;
  std::atomic<bool> graceful_ = false;
  std::atomic<bool> interrupted_ = false;
  std::thread thread_;
};

}  // namespace graft
