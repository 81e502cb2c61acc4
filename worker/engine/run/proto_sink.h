#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "graft/engine/v1/engine.pb.h"
#include "graft/v1/event.pb.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// The engine's events as messages: a JobEvent each, with its time, and Progress beside at most
// twice a second and at every stage. Used by the training thread.
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
  void OnEvaluation(const EvaluationEvent& event) override;
  void OnCheckpoint(const CheckpointEvent& event) override;
  void OnSamples(int64_t step, const std::vector<SampleTextEvent>& texts) override;
  void OnWarning(const std::string& code, const std::string& text) override;
  // Rows of an evaluation that are done, of how many.
  void OnRows(int64_t done, int64_t total);

 private:
  void Emit(v1::JobEvent event);
  // `done` units of `total` are done; `now`: tell it whenever the last report was.
  void ReportProgress(int64_t done, int64_t total, double epoch, bool now);

  Outputs outputs_;
  engine::v1::Progress progress_;
  std::chrono::steady_clock::time_point last_report_;
  // Of the first unit seen: what the time that is left is reckoned from.
  std::chrono::steady_clock::time_point first_time_;
  int64_t first_done_ = -1;
};

}  // namespace graft
