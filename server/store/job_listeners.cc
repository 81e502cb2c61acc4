#include "server/store/job_listeners.h"

#include <pthread.h>

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "common/base/mutex.h"

namespace graft {
namespace {

bool AddsOnlyEvents(const JobChange& change) {
  return change.state == change.previous_state && !change.deleted && !change.schedule_changed &&
         !change.progressed && change.end == AttemptEnd::kNone;
}

}  // namespace

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
  // The change of a job that is the last one queued of it, if it only added events.
  std::map<std::string, JobChange*> last_events ABSL_GUARDED_BY(mutex);
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  CondVar work;  // The queue has grown, or stopping.
  CondVar room;

  void Push(JobChange change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const bool only_events = AddsOnlyEvents(change);
    const auto last = last_events.find(change.job);
    if (only_events && last != last_events.end()) {
      *last->second = std::move(change);
      return;
    }
    if (last != last_events.end()) last_events.erase(last);
    queue.push_back(std::move(change));
    if (only_events) last_events[queue.back().job] = &queue.back();
  }
  JobChange Pop() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const auto last = last_events.find(queue.front().job);
    if (last != last_events.end() && last->second == &queue.front()) last_events.erase(last);
    JobChange change = std::move(queue.front());
    queue.pop_front();
    if (queue.size() < kMaxUndelivered) room.NotifyAll();
    return change;
  }
  std::vector<std::shared_ptr<Listener>> ListenersOf(const std::string& job)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::vector<std::shared_ptr<Listener>> listeners;
    for (const std::string& key : {job, std::string()}) {
      const auto found = by_job.find(key);
      if (found == by_job.end()) continue;
      listeners.insert(listeners.end(), found->second.begin(), found->second.end());
    }
    return listeners;
  }
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

JobListeners::JobListeners() : state_(std::make_shared<State>()) {
  thread_ = std::thread([state = state_] {
    ::pthread_setname_np(::pthread_self(), "store-news");
    Deliver(*state);
  });
}

JobListeners::~JobListeners() { Stop(); }

std::unique_ptr<Subscription> JobListeners::Subscribe(absl::string_view job, JobListener listener) {
  auto entry = std::make_shared<Listener>(std::move(listener));
  {
    MutexLock lock(state_->mutex);
    state_->by_job[std::string(job)].push_back(entry);
  }
  return std::make_unique<JobSubscription>(state_, std::string(job), std::move(entry));
}

void JobListeners::Enqueue(std::vector<JobChange> changes) {
  if (changes.empty()) return;
  MutexLock lock(state_->mutex);
  for (JobChange& change : changes) state_->Push(std::move(change));
  state_->work.NotifyOne();
}

void JobListeners::WaitForRoom() {
  MutexLock lock(state_->mutex);
  while (state_->queue.size() >= kMaxUndelivered) state_->room.Wait(state_->mutex);
}

void JobListeners::Stop() {
  {
    MutexLock lock(state_->mutex);
    state_->stopping = true;
    state_->work.NotifyOne();
  }
  if (thread_.joinable()) thread_.join();
}

void JobListeners::Deliver(State& state) {
  while (true) {
    JobChange change;
    std::vector<std::shared_ptr<Listener>> listeners;
    {
      MutexLock lock(state.mutex);
      while (state.queue.empty() && !state.stopping) state.work.Wait(state.mutex);
      if (state.queue.empty()) return;
      change = state.Pop();
      listeners = state.ListenersOf(change.job);
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
