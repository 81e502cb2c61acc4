#include "server/serving/measurement_broker.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/jobs/timestamps.h"
#include "common/rpc/status.h"

namespace graft {
namespace {

// The worker's answer is on its way for less.
constexpr absl::Duration kWay = absl::Seconds(2);
// Between two looks at whether the caller is still there.
constexpr absl::Duration kLook = absl::Milliseconds(500);

}  // namespace

absl::StatusOr<v1::JobMeasurement> MeasurementBroker::Measure(worker::v1::Lease lease,
                                                              const Gone& gone) {
  std::string id;
  {
    MutexLock lock(mutex_);
    if (waiting_.size() >= max_measured_) {
      return absl::UnavailableError("other jobs are being measured");
    }
    id = absl::StrCat("m", next_id_++);
    waiting_[id];
  }
  std::string worker;
  const absl::Cleanup leave = [&] {
    if (!worker.empty()) hub_.LeaveIdleWorker(worker);
    MutexLock lock(mutex_);
    waiting_.erase(id);
  };
  worker = hub_.TakeIdleWorker(lease.base_model().sha256());
  if (worker.empty()) {
    return absl::UnavailableError(hub_.empty() ? "no worker is connected" : "no worker is idle");
  }
  {
    MutexLock lock(mutex_);
    waiting_[id].worker = worker;
  }
  worker::v1::Command command;
  worker::v1::Command::Measure& measure = *command.mutable_measure();
  measure.set_id(id);
  *measure.mutable_lease() = std::move(lease);
  *measure.mutable_time_limit() = ToProtoDuration(kMeasureTime - kWay);
  const absl::Duration end = clock_.Boottime() + kMeasureTime;
  if (!hub_.Send(worker, std::move(command))) {
    return absl::UnavailableError(absl::StrCat("worker ", worker, " was lost"));
  }
  absl::StatusOr<v1::JobMeasurement> measured = WaitForAnswer(id, end, gone);
  if (measured.ok()) measured->set_worker(worker);
  return measured;
}

absl::StatusOr<v1::JobMeasurement> MeasurementBroker::WaitForAnswer(const std::string& id,
                                                                    absl::Duration end,
                                                                    const Gone& gone) {
  MutexLock lock(mutex_);
  Waiting& waiting = waiting_[id];
  for (;;) {
    if (waiting.answer) return *std::move(waiting.answer);
    if (gone()) return absl::CancelledError("nobody waits for the plan any more");
    const absl::Duration now = clock_.Boottime();
    if (now >= end) {
      return absl::DeadlineExceededError(absl::StrCat("worker ", waiting.worker,
                                                      " did not answer within ",
                                                      absl::ToInt64Seconds(kMeasureTime), " s"));
    }
    clock_.WaitUntil(answered_, mutex_, std::min(end, now + kLook));
  }
}

absl::Status MeasurementBroker::Report(const worker::v1::ReportMeasurementRequest& request) {
  MutexLock lock(mutex_);
  const auto it = waiting_.find(request.id());
  if (it == waiting_.end() || it->second.worker != request.worker().id() || it->second.answer) {
    return absl::NotFoundError(
        absl::StrCat("nobody waits for measurement ", request.id(), " of ", request.worker().id()));
  }
  if (request.has_measured()) {
    it->second.answer = request.measured();
  } else {
    const absl::Status error = FromRpcStatus(request.error());
    it->second.answer = error.ok() ? absl::InternalError("the worker answered nothing") : error;
  }
  answered_.NotifyAll();
  return absl::OkStatus();
}

void MeasurementBroker::WorkerLost(const std::string& worker) {
  MutexLock lock(mutex_);
  for (auto& [id, waiting] : waiting_) {
    if (waiting.worker != worker || waiting.answer) continue;
    waiting.answer = absl::UnavailableError(absl::StrCat("worker ", worker, " was lost"));
  }
  answered_.NotifyAll();
}

}  // namespace graft
