#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "graft/engine/v1/engine.pb.h"
#include "graft/v1/event.pb.h"
#include "worker/engine/run/progress_meter.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// The engine's events as messages: a JobEvent each, with its time, and Progress beside at most
// twice a second and at every stage. Used by the training thread, but for RepeatProgress.
class ProtoEventSink : public EventSink {
 public:
  struct Outputs {
    std::function<void(v1::JobEvent)> on_event;
    std::function<void(engine::v1::Progress)> on_progress;             // May be empty.
    std::function<void(engine::v1::CheckpointWritten)> on_checkpoint;  // May be empty.
  };
  explicit ProtoEventSink(Outputs outputs) : outputs_(std::move(outputs)) {}

  void OnStage(const StageEvent& event) override;
  void OnStep(const StepEvent& event) override;
  void OnRows(const RowsEvent& event) override;
  void OnEvaluation(const EvaluationEvent& event) override;
  void OnCheckpoint(const CheckpointEvent& event) override;
  void OnDivergence(const DivergenceEvent& event) override;
  void OnSamples(int64_t step, const std::string& adapter,
                 const std::vector<SampleTextEvent>& texts) override;
  void OnWarning(const std::string& code, const std::string& text) override;

  // Tells the progress as it was told or known last. From any thread.
  void RepeatProgress() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Emit(v1::JobEvent event);
  // `at_once`: whenever the last report was.
  void ReportProgress(absl::Duration now, bool at_once) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Outputs outputs_;
  // Held while progress is told, too, so that no older one comes after a newer.
  Mutex mutex_;
  ProgressMeter meter_ ABSL_GUARDED_BY(mutex_);
  absl::Duration last_report_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
};

}  // namespace graft
