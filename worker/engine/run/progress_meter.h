#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "graft/engine/v1/engine.pb.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// What a job has done and how long it will yet take, reckoned from what its loops tell. `now` is of
// any clock that does not go back.
//
// The time left of training is the steps left at the pace since the first step that was seen, with
// the evaluations between them. That of an evaluation is known once its last pass has begun (texts
// take far longer than losses, and nobody knows how long), or earlier if one was seen whole before.
class ProgressMeter {
 public:
  void OnStage(const StageEvent& event, absl::Duration now);
  void OnStep(const StepEvent& event, absl::Duration now);
  // Training goes on from this step, which is an earlier one.
  void OnRollback(int64_t step, absl::Duration now);
  void OnRows(const RowsEvent& event, absl::Duration now);

  // eta_seconds is as of the last call; 0 when it is not known.
  const engine::v1::Progress& progress() const { return progress_; }

 private:
  void Reckon(absl::Duration now);
  bool InEvaluation() const { return progress_.stage() == v1::JOB_STAGE_EVALUATING; }
  // InfiniteDuration when they are not known.
  absl::Duration TrainingLeft() const;
  absl::Duration EvaluationLeft(absl::Duration now) const;

  engine::v1::Progress progress_;
  // Of a fine-tune job; 0 in an evaluate job.
  int64_t total_steps_ = 0;
  int64_t first_step_ = 0;  // Seen here; 0: none yet.
  absl::Duration first_step_time_;
  absl::Duration last_step_time_;

  RowsEvent rows_;  // Of the evaluation that runs.
  absl::Duration evaluation_begin_;
  absl::Duration pass_begin_;
  absl::Duration last_evaluation_ = absl::InfiniteDuration();  // How long the one before took.
};

}  // namespace graft
