#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "graft/v1/plan.pb.h"
#include "graft/worker/v1/worker.pb.h"
#include "server/streams/message_stream.h"
#include "server/workers/worker_hub.h"

namespace graft {

// How long whoever plans a job waits for what a worker measures.
inline constexpr absl::Duration kMeasureTime = absl::Seconds(20);

// Jobs that are measured now, each by an idle worker: nothing is queued, nothing is stored.
// Thread-safe; calls the hub outside its lock.
class MeasurementBroker {
 public:
  // Both outlive it. No more than `max_measured` jobs are measured at once.
  MeasurementBroker(WorkerHub& hub, Clock& clock, size_t max_measured)
      : hub_(hub), clock_(clock), max_measured_(max_measured) {}

  // What the job of the lease would need, by an idle worker. Blocks, for kMeasureTime at the most.
  // UNAVAILABLE: no worker is idle, or it was lost or had a job to do, or others are
  // measured; DEADLINE_EXCEEDED;
  // CANCELLED: `gone`; else why the worker could not find out.
  absl::StatusOr<v1::JobMeasurement> Measure(worker::v1::Lease lease, const Gone& gone)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // The worker's side. NOT_FOUND: nobody waits for it any more.
  absl::Status Report(const worker::v1::ReportMeasurementRequest& request)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void WorkerLost(const std::string& worker) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Waiting {
    std::string worker;
    std::optional<absl::StatusOr<v1::JobMeasurement>> answer;
  };

  absl::StatusOr<v1::JobMeasurement> WaitForAnswer(const std::string& id, absl::Duration end,
                                                   const Gone& gone) ABSL_LOCKS_EXCLUDED(mutex_);

  WorkerHub& hub_;
  Clock& clock_;
  const size_t max_measured_;
  Mutex mutex_;
  CondVar answered_;
  int64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  std::map<std::string, Waiting> waiting_ ABSL_GUARDED_BY(mutex_);  // By id.
};

}  // namespace graft
