#pragma once

// How long jobs took, by what they were told to do: what a forecast of the queue goes by. Memory
// only; a server that starts anew looks at the newest jobs of its store.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "server/store/job_store.h"

namespace graft {

// Jobs that are measured at the most; and of one kind of work, of which the median counts.
inline constexpr int kMeasuredJobs = 200;
inline constexpr size_t kMeasuredAlike = 5;

// What a job is told to do but for what takes no time, as a hash: its seeds, rates of learning and
// names. The same for jobs that should take as long as each other.
std::string WorkOf(const v1::JobSpec& resolved);

// What a job went through from its claim to its end, if it succeeded in one attempt; and on what.
struct MeasuredTime {
  std::string device;  // "cpu", or a GPU's model.
  absl::Duration time;
};
std::optional<MeasuredTime> MeasuredTimeOf(const v1::Job& job);

// Thread-safe; reads the store.
class JobTimes {
 public:
  // `store` must outlive it.
  explicit JobTimes(JobStore& store);

  // Looks at the jobs that have succeeded since the last call. Errors are the store's; what was
  // not read is read the next time.
  absl::Status Refresh() ABSL_LOCKS_EXCLUDED(mutex_);
  // WorkOf the job. NOT_FOUND.
  absl::StatusOr<std::string> WorkOfJob(const std::string& job) ABSL_LOCKS_EXCLUDED(mutex_);
  // Median of the last times that such work took on such a device; nothing: it was never seen.
  std::optional<absl::Duration> Typical(const std::string& work, const std::string& device) const
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Kind = std::pair<std::string, std::string>;  // Work and device.
  absl::Status ReadNewest() ABSL_LOCKS_EXCLUDED(mutex_);
  void Add(const v1::Job& job) ABSL_LOCKS_EXCLUDED(mutex_);

  JobStore& store_;
  mutable Mutex mutex_;
  bool read_newest_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<std::string> ended_ ABSL_GUARDED_BY(mutex_);  // Not yet looked at.
  std::map<Kind, std::deque<absl::Duration>> times_ ABSL_GUARDED_BY(mutex_);
  std::deque<Kind> order_ ABSL_GUARDED_BY(mutex_);  // Of what is in times_, oldest first.
  std::map<std::string, std::string> works_ ABSL_GUARDED_BY(mutex_);  // Of jobs that are not done.
  std::unique_ptr<Subscription> subscription_;
};

}  // namespace graft
