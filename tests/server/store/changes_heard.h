#pragma once

// For tests of what listens to a store: when it has heard all.

#include <map>
#include <memory>
#include <string>

#include "common/base/mutex.h"
#include "gtest/gtest.h"
#include "server/store/job_store.h"

namespace graft {

// Hears of each change after those who subscribed before it. To be made while there is no job.
class ChangesHeard {
 public:
  explicit ChangesHeard(JobStore& store) : store_(store) {
    subscription_ = store.Subscribe("", [this](const JobChange& change) {
      MutexLock lock(mutex_);
      last_sequences_[change.job] = change.deleted ? 0 : change.last_sequence;
      heard_.NotifyAll();
    });
  }

  // Until all that has been committed has been told. Every change of a job's state or progress has
  // an event.
  void WaitForAll() {
    const auto counts = store_.Counts();
    ASSERT_TRUE(counts.ok()) << counts.status();
    MutexLock lock(mutex_);
    while (Sum() < counts->events) heard_.Wait(mutex_);
  }

 private:
  int64_t Sum() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    int64_t sum = 0;
    for (const auto& [job, last] : last_sequences_) sum += last;
    return sum;
  }

  JobStore& store_;
  Mutex mutex_;
  CondVar heard_;
  std::map<std::string, int64_t> last_sequences_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Subscription> subscription_;
};

}  // namespace graft
