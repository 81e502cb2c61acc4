#pragma once

// The queue at one moment, and why each of its jobs waits.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "graft/v1/queue.pb.h"
#include "server/scheduler/job_times.h"
#include "server/scheduler/queue_forecast.h"
#include "server/scheduler/scheduler.h"
#include "server/store/job_store.h"

namespace graft {

// Jobs at the head of the queue whose start is forecast.
inline constexpr size_t kForecastJobs = 200;
// Slots of all workers together that it goes by, each worker's part of them; others are left out.
inline constexpr size_t kForecastSlots = 2000;
// Names and workers that an answer about one job has.
inline constexpr size_t kMaxQueueDetails = 100;

struct QueueMoment {
  Workforce workforce;
  std::vector<HeldJobView> held;
  QueuePart queue;  // From its head.
  absl::Duration boottime;
  absl::Time date;
};

// Immutable. Thread-safe.
class QueuePicture {
 public:
  // `times` is asked here only; what the store answers to it.
  static absl::StatusOr<QueuePicture> Make(QueueMoment moment, JobTimes& times);

  // Jobs of the queue that it holds.
  size_t size() const { return moment_.queue.jobs.size(); }
  const WaitingJob& job(size_t i) const { return moment_.queue.jobs[i]; }
  // Of a job before which `position` jobs stand in the queue. If it is not the one of that number
  // here (it stands behind all of them, or has come since), its start is not known.
  v1::QueueEntry Entry(const WaitingJob& job, size_t position) const;
  // Adds what only a job gets that was asked about by name: what runs before it, and how every
  // worker stands to it.
  void AddDetails(const WaitingJob& job, size_t position, v1::QueueEntry& entry) const;

 private:
  // How a worker stands to a job.
  struct Fit {
    std::vector<std::string> lacks;
    bool handed_back = false;
    bool able() const { return lacks.empty(); }
    bool may() const { return lacks.empty() && !handed_back; }
  };
  using Fits = std::vector<Fit>;  // By worker, as in Workforce.

  explicit QueuePicture(QueueMoment moment) : moment_(std::move(moment)) {}
  const std::vector<Workforce::Worker>& workers() const { return moment_.workforce.workers; }
  Fits MakeFits(const QueuedJob& job) const;
  bool IsAt(const WaitingJob& job, size_t position) const;
  Fits FitsOf(const WaitingJob& job, size_t position) const;
  static bool Compete(const Fits& a, const Fits& b);
  bool IsReady(const WaitingJob& job) const { return job.queued.not_before <= moment_.boottime; }
  void CountSlots();
  // Jobs of which each worker thinks alike are of one kind.
  void FindKinds();
  std::vector<ForecastSlot> Slots() const;
  ForecastJob Ahead(const WaitingJob& job, const Fits& fits,
                    const absl::StatusOr<std::string>& work, const JobTimes& times) const;
  absl::Status Forecast(JobTimes& times);
  // Jobs that go before one of such fits, of those before it.
  int64_t CountBefore(const WaitingJob& job, const Fits& fits, size_t position) const;
  void Explain(const WaitingJob& job, size_t position, v1::QueueEntry& entry) const;
  void ExplainWithoutWorker(const WaitingJob& job, const Fits& fits, v1::QueueEntry& entry) const;

  QueueMoment moment_;
  std::vector<int> free_slots_;  // By worker.
  std::vector<Fits> kinds_;
  std::vector<size_t> kind_of_;                        // By job.
  std::vector<int64_t> before_;                        // CountBefore, by job.
  std::vector<std::optional<absl::Duration>> starts_;  // Of the first jobs.
};

}  // namespace graft
