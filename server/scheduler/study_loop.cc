#include "server/scheduler/study_loop.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/jobs/job_state.h"
#include "common/telemetry/log.h"

namespace graft {
namespace {

// After an error, and for whatever had no room in the queue.
constexpr absl::Duration kRetry = absl::Seconds(5);

// "studies/s" of "studies/s/trials/1".
std::string StudyOfTrial(const std::string& trial) {
  return trial.substr(0, trial.find("/trials/"));
}

// A trial that is QUEUED tells of a study that was made or goes on: it may have a time limit, or
// trials for which there was no room.
bool Concerns(const JobChange& change) {
  if (change.trial.empty()) return false;
  const bool changed = change.state != change.previous_state;
  return change.deleted || (changed && !IsHeld(change.state));
}

}  // namespace

StudyLoop::StudyLoop(JobStore& store, Clock& clock, MakeFiles make_files, OnAdvance on_advance)
    : store_(store),
      clock_(clock),
      make_files_(std::move(make_files)),
      on_advance_(std::move(on_advance)) {
  subscription_ = store.Subscribe("", [this](const JobChange& change) {
    if (Concerns(change)) Wake(StudyOfTrial(change.trial));
  });
  thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "studies");
    Run();
  });
}

StudyLoop::~StudyLoop() {
  subscription_.reset();
  {
    MutexLock lock(mutex_);
    closing_ = true;
    woken_.NotifyAll();
  }
  thread_.join();
}

void StudyLoop::Wake(const std::string& study) { LookAgain(study, absl::ZeroDuration()); }

void StudyLoop::LookAgain(const std::string& study, absl::Duration at) {
  if (at == absl::InfiniteDuration()) return;
  MutexLock lock(mutex_);
  const auto [due, is_new] = due_.try_emplace(study, at);
  if (!is_new) due->second = std::min(due->second, at);
  woken_.NotifyAll();
}

void StudyLoop::FindOpen() {
  const absl::StatusOr<std::vector<std::string>> open = store_.OpenStudies();
  if (!open.ok()) {
    Log(LogLevel::kError, "studies cannot be listed", {{"error", open.status().ToString()}});
  } else {
    for (const std::string& study : *open) Wake(study);
  }
  MutexLock lock(mutex_);
  find_at_ = open.ok() ? absl::InfiniteDuration() : clock_.Boottime() + kRetry;
}

absl::StatusOr<StudyAdvance> StudyLoop::AdvanceOrFinish(const std::string& study) {
  ASSIGN_OR_RETURN(const StudyAdvance advance, store_.AdvanceStudy(study));
  if (!advance.ending) return advance;
  ASSIGN_OR_RETURN(const v1::Study ended, store_.GetStudy(study));
  ASSIGN_OR_RETURN(const std::vector<v1::Artifact> files, make_files_(ended));
  return store_.FinishStudy(study, files);
}

void StudyLoop::Advance(const std::string& study) {
  const absl::StatusOr<StudyAdvance> advance = AdvanceOrFinish(study);
  if (absl::IsNotFound(advance.status())) return;  // Deleted.
  if (!advance.ok()) {
    Log(LogLevel::kError, "a study cannot go on",
        {{"study", study}, {"error", advance.status().ToString()}});
    return LookAgain(study, clock_.Boottime() + kRetry);
  }
  if (advance->blocked) LookAgain(study, clock_.Boottime() + kRetry);
  LookAgain(study, clock_.Boottime() + (advance->next - store_.RunningTime()));
  on_advance_(study, *advance);
}

void StudyLoop::Run() {
  while (true) {
    std::string study;  // Empty: all that are open are to be found.
    {
      MutexLock lock(mutex_);
      if (closing_) return;
      const auto next =
          std::min_element(due_.begin(), due_.end(),
                           [](const auto& a, const auto& b) { return a.second < b.second; });
      const absl::Duration due = next == due_.end() ? absl::InfiniteDuration() : next->second;
      if (std::min(due, find_at_) > clock_.Boottime()) {
        clock_.WaitUntil(woken_, mutex_, std::min(due, find_at_));
        continue;
      }
      if (find_at_ > clock_.Boottime()) {
        study = next->first;
        due_.erase(next);
      }
    }
    study.empty() ? FindOpen() : Advance(study);
  }
}

}  // namespace graft
