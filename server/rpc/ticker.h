#pragma once

#include <memory>
#include <set>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "server/streams/message_stream.h"

namespace graft {

// Wakes its members in a fixed rhythm, so that they can see whether something is due. Owns one
// thread, joined in the destructor. Thread-safe.
class Ticker {
 public:
  // `name`: its thread's, at most 15 characters.
  Ticker(const std::string& name, Clock& clock, absl::Duration interval);
  ~Ticker();
  void Add(const std::shared_ptr<StreamWaker>& waker);
  void Remove(const std::shared_ptr<StreamWaker>& waker);

 private:
  void Run();

  const absl::Duration interval_;
  StopSignal stop_;
  Mutex mutex_;
  std::set<std::shared_ptr<StreamWaker>> members_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace graft
