#pragma once

// The thread that lets studies go on: it asks the store to advance a study when one of its trials'
// jobs was queued, has ended, waits at a rung, or was deleted, and at the study's time limit.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "server/store/job_store.h"

namespace graft {

// Owns its thread, which ends in the destructor. What a study was about to do when a process ended
// is done by the next one: the loop begins with all that are not done.
class StudyLoop {
 public:
  // `on_advance` is called on the loop's thread, under no lock, with what each advance came to.
  // Store and clock outlive the loop.
  using OnAdvance = std::function<void(const std::string& study, const StudyAdvance&)>;
  StudyLoop(JobStore& store, Clock& clock, OnAdvance on_advance);
  ~StudyLoop();

 private:
  // The study is looked at soon.
  void Wake(const std::string& study) ABSL_LOCKS_EXCLUDED(mutex_);
  void Run();
  void FindOpen() ABSL_LOCKS_EXCLUDED(mutex_);
  void Advance(const std::string& study) ABSL_LOCKS_EXCLUDED(mutex_);
  void LookAgain(const std::string& study, absl::Duration at) ABSL_LOCKS_EXCLUDED(mutex_);

  JobStore& store_;
  Clock& clock_;
  const OnAdvance on_advance_;
  Mutex mutex_;
  CondVar woken_;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  // When those that are not done are to be found: boottime.
  absl::Duration find_at_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  // When each is to be looked at next: boottime.
  std::map<std::string, absl::Duration> due_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Subscription> subscription_;
  std::thread thread_;
};

}  // namespace graft
