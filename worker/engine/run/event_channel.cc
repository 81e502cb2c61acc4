#include "worker/engine/run/event_channel.h"

#include <utility>

namespace graft {

EventChannel::EventChannel(int fd, std::function<void()> on_broken)
    : writer_(fd), on_broken_(std::move(on_broken)), thread_([this] { Run(); }) {}

EventChannel::~EventChannel() {
  {
    MutexLock lock(mutex_);
    closed_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void EventChannel::Send(const engine::v1::EngineEvent& event) {
  std::string message = event.SerializeAsString();
  MutexLock lock(mutex_);
  while (queue_.size() >= kMaxQueued && !broken_) changed_.Wait(mutex_);
  if (broken_) return;
  queue_.push_back(std::move(message));
  changed_.NotifyAll();
}

void EventChannel::Run() {
  for (;;) {
    std::string message;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !closed_) changed_.Wait(mutex_);
      if (queue_.empty()) return;
      message = std::move(queue_.front());
      queue_.pop_front();
      changed_.NotifyAll();
    }
    if (!writer_.Write(message).ok()) break;
  }
  {
    MutexLock lock(mutex_);
    broken_ = true;
    queue_.clear();
    changed_.NotifyAll();
  }
  on_broken_();
}

}  // namespace graft
