#include "worker/engine/run/progress_meter.h"

#include <algorithm>

#include "worker/engine/run/spec_bridge.h"

namespace graft {

void ProgressMeter::OnStage(const StageEvent& event, absl::Duration now) {
  if (InEvaluation()) last_evaluation_ = now - evaluation_begin_;
  progress_.set_stage(ToProto(event.stage));
  if (event.total_steps > 0) {
    total_steps_ = event.total_steps;
    progress_.set_total_steps(total_steps_);
  }
  progress_.set_stage_done(0);
  progress_.set_stage_total(0);
  rows_ = {};
  evaluation_begin_ = now;
  if (event.stage == Stage::kTraining) {
    progress_.set_stage_done(progress_.step());
    progress_.set_stage_total(total_steps_);
  }
  Reckon(now);
}

void ProgressMeter::OnStep(const StepEvent& event, absl::Duration now) {
  total_steps_ = event.total_steps;
  if (first_step_ == 0) {
    first_step_ = event.step;
    first_step_time_ = now;
  }
  last_step_time_ = now;
  progress_.set_step(event.step);
  progress_.set_total_steps(event.total_steps);
  progress_.set_epoch(event.epoch);
  progress_.set_stage_done(event.step);
  progress_.set_stage_total(event.total_steps);
  Reckon(now);
}

void ProgressMeter::OnRollback(int64_t step, absl::Duration now) {
  first_step_ = 0;  // The pace is that of the steps from there on.
  progress_.set_step(step);
  progress_.set_stage_done(step);
  Reckon(now);
}

void ProgressMeter::OnRows(const RowsEvent& event, absl::Duration now) {
  if (rows_.pass_end == 0 || event.pass_begin != rows_.pass_begin) pass_begin_ = now;
  rows_ = event;
  progress_.set_stage_done(event.done);
  progress_.set_stage_total(event.total);
  if (total_steps_ == 0) {  // An evaluate job's steps are its rows.
    progress_.set_step(event.done);
    progress_.set_total_steps(event.total);
  }
  Reckon(now);
}

absl::Duration ProgressMeter::TrainingLeft() const {
  const int64_t left = total_steps_ - progress_.step();
  if (total_steps_ == 0 || left <= 0) return absl::ZeroDuration();
  const int64_t done = progress_.step() - first_step_;
  if (first_step_ == 0 || done <= 0) return absl::InfiniteDuration();
  return (last_step_time_ - first_step_time_) / done * left;
}

absl::Duration ProgressMeter::EvaluationLeft(absl::Duration now) const {
  if (!InEvaluation()) return absl::ZeroDuration();
  const int64_t done = rows_.done - rows_.pass_begin;
  if (rows_.pass_end == rows_.total && done > 0) {
    return (now - pass_begin_) / done * (rows_.total - rows_.done);
  }
  return std::max(absl::ZeroDuration(), last_evaluation_ - (now - evaluation_begin_));
}

void ProgressMeter::Reckon(absl::Duration now) {
  const bool works = progress_.stage() == v1::JOB_STAGE_TRAINING || InEvaluation();
  const absl::Duration left = works ? TrainingLeft() + EvaluationLeft(now) : absl::ZeroDuration();
  progress_.set_eta_seconds(left == absl::InfiniteDuration() ? 0 : absl::ToDoubleSeconds(left));
}

}  // namespace graft
