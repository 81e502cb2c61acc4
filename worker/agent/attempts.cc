#include "worker/agent/attempts.h"

#include <pthread.h>

#include <algorithm>

namespace graft {

Attempts::Attempts(Clock& clock)
    : stop_(clock), timer_([this] {
        while (!stop_.WaitFor(kTick)) {
          for (const auto& attempt : All()) attempt->Enforce();
        }
      }) {
  pthread_setname_np(timer_.native_handle(), "fences");
}

Attempts::~Attempts() {
  stop_.Stop();
  timer_.join();
}

void Attempts::Add(const std::shared_ptr<Attempt>& attempt) {
  MutexLock lock(mutex_);
  attempts_.push_back(attempt);
}

void Attempts::Remove(const std::shared_ptr<Attempt>& attempt) {
  MutexLock lock(mutex_);
  attempts_.erase(std::remove(attempts_.begin(), attempts_.end(), attempt), attempts_.end());
}

std::vector<std::shared_ptr<Attempt>> Attempts::All() const {
  MutexLock lock(mutex_);
  return attempts_;
}

std::shared_ptr<Attempt> Attempts::Find(const std::string& job, int64_t lease_epoch) const {
  MutexLock lock(mutex_);
  for (const auto& attempt : attempts_) {
    if (attempt->job() == job && attempt->lease_epoch() == lease_epoch) return attempt;
  }
  return nullptr;
}

}  // namespace graft
