#pragma once

// Answers questions about the queue: JobService.GetQueue, and what a watcher of a queued job hears.

#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "graft/v1/queue.pb.h"
#include "server/scheduler/job_times.h"
#include "server/scheduler/queue_picture.h"
#include "server/scheduler/scheduler.h"
#include "server/store/job_store.h"

namespace graft {

// Jobs at the head of the queue that are looked at in detail.
inline constexpr int kQueueHead = 1000;
// How old what Glance says may be: many may watch.
inline constexpr absl::Duration kGlanceAge = absl::Seconds(1);

// Thread-safe; reads the store.
class QueueView {
 public:
  // All must outlive it.
  QueueView(JobStore& store, Clock& clock, const Scheduler& scheduler)
      : store_(store), clock_(clock), scheduler_(scheduler), times_(store) {}

  // INVALID_ARGUMENT (page_size, page_token), NOT_FOUND, FAILED_PRECONDITION (WRONG_STATE).
  absl::StatusOr<v1::GetQueueResponse> Read(const v1::GetQueueRequest& request)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Of a queued job; an entry without a name, if it does not stand at the head of the queue.
  absl::StatusOr<v1::QueueEntry> Glance(const std::string& job) ABSL_LOCKS_EXCLUDED(mutex_);
  // Of a job of this resolved spec, were it submitted now; its entry has no name.
  absl::StatusOr<v1::QueueEntry> Foresee(const v1::JobSpec& resolved, int32_t priority);

 private:
  using Glances = std::map<std::string, v1::QueueEntry>;
  absl::StatusOr<QueueMoment> Look();
  absl::StatusOr<QueuePicture> Picture(int64_t* total = nullptr);
  absl::StatusOr<v1::GetQueueResponse> ReadOne(const std::string& name);

  JobStore& store_;
  Clock& clock_;
  const Scheduler& scheduler_;
  JobTimes times_;
  Mutex mutex_;
  std::shared_ptr<const Glances> glances_ ABSL_GUARDED_BY(mutex_);
  absl::Duration glanced_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
