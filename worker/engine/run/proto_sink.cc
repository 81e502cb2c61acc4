#include "worker/engine/run/proto_sink.h"

#include <utility>

#include "absl/time/clock.h"
#include "common/formats/manifest.h"
#include "common/jobs/timestamps.h"
#include "worker/engine/run/spec_bridge.h"

namespace graft {
namespace {

constexpr std::chrono::milliseconds kProgressInterval(500);

}  // namespace

void ProtoEventSink::Emit(v1::JobEvent event) {
  *event.mutable_create_time() = ToTimestamp(absl::Now());
  outputs_.on_event(std::move(event));
}

void ProtoEventSink::OnStage(const StageEvent& event) {
  Emit(ToProto(event));
  progress_.set_stage(ToProto(event.stage));
  if (event.total_steps > 0) progress_.set_total_steps(event.total_steps);
  ReportProgress(progress_.step(), progress_.total_steps(), progress_.epoch(), true);
}

void ProtoEventSink::OnStep(const StepEvent& event) {
  Emit(ToProto(event));
  ReportProgress(event.step, event.total_steps, event.epoch, false);
}

void ProtoEventSink::OnRows(int64_t done, int64_t total) { ReportProgress(done, total, 0, true); }

void ProtoEventSink::ReportProgress(int64_t done, int64_t total, double epoch, bool now) {
  const auto time = std::chrono::steady_clock::now();
  if (done > 0 && first_done_ < 0) {
    first_done_ = done;
    first_time_ = time;
  }
  progress_.set_step(done);
  progress_.set_total_steps(total);
  progress_.set_epoch(epoch);
  if (first_done_ >= 0 && done > first_done_) {
    const double seconds = std::chrono::duration<double>(time - first_time_).count();
    progress_.set_eta_seconds(seconds / static_cast<double>(done - first_done_) *
                              static_cast<double>(total - done));
  }
  if (!outputs_.on_progress || (!now && time - last_report_ < kProgressInterval)) return;
  last_report_ = time;
  outputs_.on_progress(progress_);
}

void ProtoEventSink::OnEvaluation(const EvaluationEvent& event) { Emit(ToProto(event)); }

void ProtoEventSink::OnCheckpoint(const CheckpointEvent& event) {
  Emit(ToProto(event));
  if (!outputs_.on_checkpoint) return;
  engine::v1::CheckpointWritten written;
  written.set_step(event.step);
  for (const std::string& path : event.files) {
    const absl::StatusOr<ManifestFile> file = DescribeFile(event.directory, path);
    if (!file.ok()) {  // Just written: the disk is failing, and the next write will say so.
      OnWarning("CHECKPOINT_LOST", std::string(file.status().message()));
      return;
    }
    v1::Artifact& artifact = *written.add_files();
    artifact.set_path(file->path);
    artifact.set_size_bytes(file->size_bytes);
    artifact.set_sha256(file->sha256);
  }
  outputs_.on_checkpoint(std::move(written));
}

void ProtoEventSink::OnSamples(int64_t step, const std::vector<SampleTextEvent>& texts) {
  Emit(ToProto(step, texts));
}

void ProtoEventSink::OnWarning(const std::string& code, const std::string& text) {
  Emit(WarningToProto(code, text));
}

}  // namespace graft
