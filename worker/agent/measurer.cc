#include "worker/agent/measurer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/jobs/timestamps.h"
#include "common/rpc/status.h"
#include "common/telemetry/log.h"
#include "worker/agent/attempt_end.h"
#include "worker/agent/run_inputs.h"

namespace graft {
namespace {

constexpr char kGaveWay[] = "the worker has a job to do";

absl::StatusOr<engine::v1::EngineEvent> ReadLast(EngineLoan& engine) {
  for (;;) {
    ASSIGN_OR_RETURN(engine::v1::EngineEvent event, engine.Read());
    if (event.has_measured() || event.has_finished()) return event;
  }
}

}  // namespace

Measurer::Measurer(Options options, ServerLink& link, InputCache& inputs, EnginePool& engines,
                   Clock& clock)
    : options_(std::move(options)),
      link_(link),
      inputs_(inputs),
      engines_(engines),
      clock_(clock) {}

void Measurer::Push(worker::v1::Command::Measure request) {
  {
    MutexLock lock(mutex_);
    if (!waiting_ && !serving_) {
      waiting_ = std::move(request);
      return;
    }
  }
  Report(request.id(), absl::UnavailableError("the worker measures another job"));
}

std::optional<worker::v1::Command::Measure> Measurer::Pop() {
  MutexLock lock(mutex_);
  if (waiting_) {
    serving_ = true;
    gives_way_ = false;
  }
  return std::exchange(waiting_, std::nullopt);
}

void Measurer::Serve(const worker::v1::Command::Measure& request, StopSignal& stop) {
  absl::StatusOr<v1::JobMeasurement> measured = Measure(request, stop);
  {
    MutexLock lock(mutex_);
    serving_ = false;
    if (!measured.ok() && gives_way_) measured = absl::UnavailableError(kGaveWay);
  }
  Report(request.id(), measured);
}

absl::StatusOr<v1::JobMeasurement> Measurer::Measure(const worker::v1::Command::Measure& request,
                                                     StopSignal& stop) {
  const absl::Duration end = clock_.Boottime() + FromProtoDuration(request.time_limit());
  ASSIGN_OR_RETURN(engine::v1::Run run, LayOutInputs(request.lease(), inputs_, stop));
  run.set_cache_directory(options_.cache_directory);
  run.set_memory_budget_bytes(options_.memory_budget_bytes);
  EnginePool::Borrower borrower;
  {
    MutexLock lock(mutex_);
    borrower.subject = absl::StrCat("measure-", ++served_);
  }
  borrower.base = request.lease().base_model().sha256();
  borrower.log_path = options_.log_path;
  ASSIGN_OR_RETURN(const std::unique_ptr<EngineLoan> engine, engines_.Borrow(borrower));
  engine::v1::EngineCommand command;
  command.set_log_file(options_.log_path);
  engine::v1::Measure& measure = *command.mutable_measure();
  *measure.mutable_run() = std::move(run);
  measure.set_within_seconds(absl::ToDoubleSeconds(end - clock_.Boottime()));
  engine->Send(command).IgnoreError();  // A dead engine shows itself when it is read.
  Attach(engine.get());
  const absl::StatusOr<engine::v1::EngineEvent> last = ReadLast(*engine);
  Attach(nullptr);
  if (!last.ok()) {
    engine->Kill();
    return absl::AbortedError(absl::StrCat("the engine ended by ", engine->WaitForEnd().text));
  }
  const bool measured = last->has_measured();
  if (measured || LeavesEngineSound(last->finished())) engine->GiveBack();
  if (measured) return last->measured();
  return FromRpcStatus(last->finished().status());
}

void Measurer::Attach(EngineLoan* engine) {
  MutexLock lock(mutex_);
  engine_ = engine;
  if (engine_ == nullptr || !gives_way_) return;
  engine::v1::EngineCommand command;
  command.mutable_cancel();
  engine_->Send(command).IgnoreError();
}

void Measurer::GiveWay() {
  std::optional<worker::v1::Command::Measure> waiting;
  {
    MutexLock lock(mutex_);
    waiting = std::exchange(waiting_, std::nullopt);
    gives_way_ = serving_;
    if (engine_ != nullptr) {
      engine::v1::EngineCommand command;
      command.mutable_cancel();
      engine_->Send(command).IgnoreError();
    }
  }
  if (waiting) Report(waiting->id(), absl::UnavailableError(kGaveWay));
}

void Measurer::Report(const std::string& id, const absl::StatusOr<v1::JobMeasurement>& measured) {
  worker::v1::ReportMeasurementRequest request;
  request.set_id(id);
  if (measured.ok()) {
    *request.mutable_measured() = *measured;
  } else {
    *request.mutable_error() = ToRpcStatus(measured.status());
  }
  const absl::Status reported = link_.ReportMeasurement(std::move(request));
  if (measured.ok() && reported.ok()) return;
  Log(LogLevel::kInfo, "a job could not be measured",
      {{"id", id},
       {"error", std::string((measured.ok() ? reported : measured.status()).message())}});
}

}  // namespace graft
