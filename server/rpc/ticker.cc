#include "server/rpc/ticker.h"

#include <pthread.h>

#include <vector>

namespace graft {

Ticker::Ticker(const std::string& name, Clock& clock, absl::Duration interval)
    : interval_(interval), stop_(clock), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), name.c_str());
}

Ticker::~Ticker() {
  stop_.Stop();
  thread_.join();
}

void Ticker::Add(const std::shared_ptr<StreamWaker>& waker) {
  MutexLock lock(mutex_);
  members_.insert(waker);
}

void Ticker::Remove(const std::shared_ptr<StreamWaker>& waker) {
  MutexLock lock(mutex_);
  members_.erase(waker);
}

void Ticker::Run() {
  while (!stop_.WaitFor(interval_)) {
    std::vector<std::shared_ptr<StreamWaker>> members;
    {
      MutexLock lock(mutex_);
      members.assign(members_.begin(), members_.end());
    }
    for (const auto& waker : members) waker->Wake();
  }
}

}  // namespace graft
