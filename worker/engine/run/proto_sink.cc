#include "worker/engine/run/proto_sink.h"

#include <utility>

#include "common/base/clock.h"
#include "common/jobs/timestamps.h"
#include "worker/engine/run/spec_bridge.h"

namespace graft {
namespace {

constexpr absl::Duration kProgressInterval = absl::Milliseconds(500);

}  // namespace

void ProtoEventSink::Emit(v1::JobEvent event) {
  *event.mutable_create_time() = ToTimestamp(Clock::Real().Now());
  outputs_.on_event(std::move(event));
}

void ProtoEventSink::OnStage(const StageEvent& event) {
  Emit(ToProto(event));
  const absl::Duration now = Clock::Real().Boottime();
  MutexLock lock(mutex_);
  meter_.OnStage(event, now);
  ReportProgress(now, true);
}

void ProtoEventSink::OnStep(const StepEvent& event) {
  Emit(ToProto(event));
  const absl::Duration now = Clock::Real().Boottime();
  MutexLock lock(mutex_);
  meter_.OnStep(event, now);
  ReportProgress(now, false);
}

void ProtoEventSink::OnRows(const RowsEvent& event) {
  const absl::Duration now = Clock::Real().Boottime();
  MutexLock lock(mutex_);
  meter_.OnRows(event, now);
  ReportProgress(now, event.done == event.total);
}

void ProtoEventSink::ReportProgress(absl::Duration now, bool at_once) {
  if (!outputs_.on_progress || (!at_once && now - last_report_ < kProgressInterval)) return;
  last_report_ = now;
  outputs_.on_progress(meter_.progress());
}

void ProtoEventSink::RepeatProgress() {
  MutexLock lock(mutex_);
  if (outputs_.on_progress) outputs_.on_progress(meter_.progress());
}

void ProtoEventSink::OnEvaluation(const EvaluationEvent& event) { Emit(ToProto(event)); }

void ProtoEventSink::OnCheckpoint(const CheckpointEvent& event) {
  if (!event.again) Emit(ToProto(event));
  if (!outputs_.on_checkpoint) return;
  engine::v1::CheckpointWritten written;
  written.set_step(event.step);
  for (const CheckpointFile& file : event.files) {
    v1::Artifact& artifact = *written.add_files();
    artifact.set_path(file.path);
    artifact.set_size_bytes(file.size_bytes);
    artifact.set_sha256(file.sha256);
  }
  *written.mutable_execution() = ToProto(event.execution);
  outputs_.on_checkpoint(std::move(written));
}

void ProtoEventSink::OnDivergence(const DivergenceEvent& event) {
  Emit(ToProto(event));
  if (event.action != DivergenceAction::kRolledBack) return;
  const absl::Duration now = Clock::Real().Boottime();
  MutexLock lock(mutex_);
  meter_.OnRollback(event.rolled_back_to_step, now);
  ReportProgress(now, true);
}

void ProtoEventSink::OnSamples(int64_t step, const std::string& adapter,
                               const std::vector<SampleTextEvent>& texts) {
  Emit(ToProto(step, adapter, texts));
}

void ProtoEventSink::OnWarning(const std::string& code, const std::string& text) {
  Emit(WarningToProto(code, text));
}

}  // namespace graft
