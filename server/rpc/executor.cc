#include "server/rpc/executor.h"

#include <pthread.h>

#include <utility>

namespace graft {

Executor::Executor(const std::string& name, int threads, size_t max_queued)
    : max_queued_(max_queued) {
  threads_.reserve(threads);
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { Work(); });
    pthread_setname_np(threads_.back().native_handle(),
                       (name.substr(0, 12) + std::to_string(i)).c_str());
  }
}

Executor::~Executor() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  wakeup_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

bool Executor::TrySchedule(std::function<void()> task) {
  {
    MutexLock lock(mutex_);
    if (tasks_.size() >= max_queued_) return false;
    tasks_.push_back(std::move(task));
  }
  wakeup_.NotifyOne();
  return true;
}

void Executor::Schedule(std::function<void()> task) {
  {
    MutexLock lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wakeup_.NotifyOne();
}

size_t Executor::queued() const {
  MutexLock lock(mutex_);
  return tasks_.size();
}

void Executor::Work() {
  while (true) {
    std::function<void()> task;
    {
      MutexLock lock(mutex_);
      while (tasks_.empty() && !stopping_) wakeup_.Wait(mutex_);
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace graft
