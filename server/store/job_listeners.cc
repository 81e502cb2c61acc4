#include "server/store/job_listeners.h"

#include <algorithm>
#include <utility>

namespace graft {

struct JobListeners::Listener {
  explicit Listener(JobListener called) : function(std::move(called)) {}

  const JobListener function;
  Mutex mutex;
  CondVar idle;
  bool ended ABSL_GUARDED_BY(mutex) = false;
  bool calling ABSL_GUARDED_BY(mutex) = false;
  std::thread::id caller ABSL_GUARDED_BY(mutex);
};

struct JobListeners::State {
  Mutex mutex;
  std::map<std::string, std::vector<std::shared_ptr<Listener>>> by_job ABSL_GUARDED_BY(mutex);
  std::deque<JobChange> queue ABSL_GUARDED_BY(mutex);
  bool delivering ABSL_GUARDED_BY(mutex) = false;
};

class JobListeners::JobSubscription : public Subscription {
 public:
  JobSubscription(std::shared_ptr<State> state, std::string job, std::shared_ptr<Listener> listener)
      : state_(std::move(state)), job_(std::move(job)), listener_(std::move(listener)) {}

  ~JobSubscription() override {
    {
      MutexLock lock(state_->mutex);
      auto found = state_->by_job.find(job_);
      auto& listeners = found->second;
      listeners.erase(std::find(listeners.begin(), listeners.end(), listener_));
      if (listeners.empty()) state_->by_job.erase(found);
    }
    MutexLock lock(listener_->mutex);
    listener_->ended = true;
    if (listener_->caller == std::this_thread::get_id()) return;  // Inside the listener itself.
    while (listener_->calling) listener_->idle.Wait(listener_->mutex);
  }

 private:
  const std::shared_ptr<State> state_;
  const std::string job_;
  const std::shared_ptr<Listener> listener_;
};

std::shared_ptr<JobListeners::State> JobListeners::MakeState() { return std::make_shared<State>(); }

std::unique_ptr<Subscription> JobListeners::Subscribe(absl::string_view job, JobListener listener) {
  auto entry = std::make_shared<Listener>(std::move(listener));
  {
    MutexLock lock(state_->mutex);
    state_->by_job[std::string(job)].push_back(entry);
  }
  return std::make_unique<JobSubscription>(state_, std::string(job), std::move(entry));
}

void JobListeners::Enqueue(std::vector<JobChange> changes) {
  MutexLock lock(state_->mutex);
  for (JobChange& change : changes) state_->queue.push_back(std::move(change));
}

void JobListeners::Deliver() {
  {
    MutexLock lock(state_->mutex);
    if (state_->delivering) return;
    state_->delivering = true;
  }
  while (true) {
    JobChange change;
    std::vector<std::shared_ptr<Listener>> listeners;
    {
      MutexLock lock(state_->mutex);
      if (state_->queue.empty()) {
        state_->delivering = false;
        return;
      }
      change = std::move(state_->queue.front());
      state_->queue.pop_front();
      for (const std::string& key : {change.job, std::string()}) {
        const auto found = state_->by_job.find(key);
        if (found == state_->by_job.end()) continue;
        listeners.insert(listeners.end(), found->second.begin(), found->second.end());
      }
    }
    for (const auto& listener : listeners) Call(*listener, change);
  }
}

void JobListeners::Call(Listener& listener, const JobChange& change) {
  {
    MutexLock lock(listener.mutex);
    if (listener.ended) return;
    listener.calling = true;
    listener.caller = std::this_thread::get_id();
  }
  listener.function(change);
  MutexLock lock(listener.mutex);
  listener.calling = false;
  listener.caller = std::thread::id();
  listener.idle.NotifyAll();
}

}  // namespace graft
