#include "server/store/job_listeners.h"

#include "common/base/mutex.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;

JobChange EventsOf(const std::string& job, int64_t last_sequence) {
  JobChange change;
  change.job = job;
  change.state = change.previous_state = v1::JOB_STATE_RUNNING;
  change.last_sequence = last_sequence;
  return change;
}

// A listener that is stuck at the first change until it is released.
class SlowListener {
 public:
  explicit SlowListener(JobListeners& listeners) {
    subscription_ = listeners.Subscribe("", [this](const JobChange& change) {
      MutexLock lock(mutex_);
      stuck_ = true;
      changed_.NotifyAll();
      while (!released_) changed_.Wait(mutex_);
      heard_.push_back(absl::StrCat(change.job, " ", change.last_sequence));
    });
    listeners.Enqueue({EventsOf("first", 1)});
    MutexLock lock(mutex_);
    while (!stuck_) changed_.Wait(mutex_);
  }
  void Release() {
    MutexLock lock(mutex_);
    released_ = true;
    changed_.NotifyAll();
  }
  std::vector<std::string> heard() {
    MutexLock lock(mutex_);
    return heard_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool stuck_ ABSL_GUARDED_BY(mutex_) = false;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::string> heard_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Subscription> subscription_;
};

TEST(JobListenersTest, OfAJobThatOnlyGetsEventsTheLastChangeIsToldAlone) {
  JobListeners listeners;
  SlowListener slow(listeners);
  for (int64_t i = 1; i <= 10'000; ++i) {
    listeners.Enqueue({EventsOf("a", i), EventsOf("b", 2 * i)});
  }
  listeners.WaitForRoom();  // There is some.
  slow.Release();
  listeners.Stop();
  EXPECT_THAT(slow.heard(), ElementsAre("first 1", "a 10000", "b 20000"));
}

TEST(JobListenersTest, WhatIsMoreThanEventsIsToldInItsPlace) {
  JobListeners listeners;
  SlowListener slow(listeners);
  JobChange progress = EventsOf("a", 3), state = EventsOf("a", 5), end = EventsOf("a", 7);
  progress.progressed = true;
  state.previous_state = v1::JOB_STATE_QUEUED;
  end.end = AttemptEnd::kOther;
  JobChange deleted = EventsOf("a", 9);
  deleted.deleted = true;
  for (const JobChange& change : {progress, state, end, deleted}) {
    listeners.Enqueue({EventsOf("a", change.last_sequence - 2)});
    listeners.Enqueue({EventsOf("a", change.last_sequence - 1), change});
  }
  slow.Release();
  listeners.Stop();
  EXPECT_THAT(slow.heard(),
              ElementsAre("first 1", "a 2", "a 3", "a 4", "a 5", "a 6", "a 7", "a 8", "a 9"));
}

}  // namespace
}  // namespace graft
