#pragma once

// The thread that lets studies go on: it asks the store to advance a study when one of its trials'
// jobs was queued, has ended, waits at a rung, or was deleted, and at the study's time limit; and
// to finish it, once all of them have ended.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

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
  // Makes what is published beside the best adapter of a study all of whose trials have ended.
  using MakeFiles = std::function<absl::StatusOr<std::vector<v1::Artifact>>(const v1::Study&)>;
  StudyLoop(JobStore& store, Clock& clock, MakeFiles make_files, OnAdvance on_advance);
  ~StudyLoop();

  // The study is looked at soon.
  void Wake(const std::string& study) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run();
  void FindOpen() ABSL_LOCKS_EXCLUDED(mutex_);
  void Advance(const std::string& study) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<StudyAdvance> AdvanceOrFinish(const std::string& study);
  void LookAgain(const std::string& study, absl::Duration at) ABSL_LOCKS_EXCLUDED(mutex_);

  JobStore& store_;
  Clock& clock_;
  const MakeFiles make_files_;
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
