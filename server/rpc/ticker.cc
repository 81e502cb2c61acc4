#include "server/rpc/ticker.h"

#include <pthread.h>

#include <vector>

namespace graft {

Ticker::Ticker(const std::string& name, Clock& clock, absl::Duration interval)
    : clock_(clock), interval_(interval), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), name.c_str());
}

Ticker::~Ticker() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  stop_.NotifyAll();
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
  while (true) {
    std::vector<std::shared_ptr<StreamWaker>> members;
    {
      MutexLock lock(mutex_);
      const absl::Duration next = clock_.Boottime() + interval_;
      while (!stopping_ && clock_.WaitUntil(stop_, mutex_, next)) {
      }
      if (stopping_) return;
      members.assign(members_.begin(), members_.end());
    }
    for (const auto& waker : members) waker->Wake();
  }
}

}  // namespace graft
