#pragma once

#include <string>
#include <utility>
#include <vector>

#include "worker/engine/run_hooks.h"

namespace graft {

// Keeps all that it is told.
class RecordingSink : public EventSink {
 public:
  void OnStage(const StageEvent& event) override { stages.push_back(event); }
  void OnStep(const StepEvent& event) override { steps.push_back(event); }
  void OnRows(const RowsEvent& event) override { rows.push_back(event); }
  void OnEvaluation(const EvaluationEvent& event) override { evaluations.push_back(event); }
  void OnCheckpoint(const CheckpointEvent& event) override { checkpoints.push_back(event); }
  void OnDivergence(const DivergenceEvent& event) override { divergences.push_back(event); }
  void OnSamples(int64_t step, const std::string& adapter,
                 const std::vector<SampleTextEvent>& texts) override {
    samples.push_back({step, texts});
    samples_of.push_back(adapter);
  }
  void OnWarning(const std::string& code, const std::string& text) override {
    warnings.push_back({code, text});
  }

  std::vector<StageEvent> stages;
  std::vector<StepEvent> steps;
  std::vector<RowsEvent> rows;
  std::vector<EvaluationEvent> evaluations;
  std::vector<CheckpointEvent> checkpoints;
  std::vector<DivergenceEvent> divergences;
  std::vector<std::pair<int64_t, std::vector<SampleTextEvent>>> samples;
  std::vector<std::string> samples_of;  // The adapters, of `samples`.
  std::vector<std::pair<std::string, std::string>> warnings;
};

// Says CANCELLED from the given poll on (1: the first).
class StopAtPoll : public StopToken {
 public:
  explicit StopAtPoll(int64_t poll) : polls_left_(poll) {}
  absl::Status Poll() override {
    return --polls_left_ <= 0 ? absl::CancelledError("stopped by the test") : absl::OkStatus();
  }

 private:
  int64_t polls_left_;
};

// From the n-th poll on it is asked to pause.
class PauseAtPoll : public StopToken {
 public:
  explicit PauseAtPoll(int64_t poll) : left_(poll) {}
  absl::Status Poll() override {
    pulse().Beat();
    return --left_ > 0 ? absl::OkStatus() : PausedStatus();
  }

 private:
  int64_t left_;
};

}  // namespace graft
