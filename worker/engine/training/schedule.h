#pragma once

#include <cstdint>

#include "worker/engine/engine_spec.h"

namespace graft {

// How a run is cut into optimiser steps: a pass over the data is ceil(rows / batch_size)
// micro-batches, gradient_accumulation_steps of them a step; the last of both may be smaller.
struct StepPlan {
  int64_t num_rows = 0;
  int64_t batch_size = 0;
  int64_t rows_per_step = 0;
  int64_t steps_per_epoch = 0;
  int64_t total_steps = 0;
  int64_t warmup_steps = 0;

  // Rows [begin, end) of the epoch's order that step k (from 0) uses, and its epoch.
  int64_t epoch(int64_t step) const { return step / steps_per_epoch; }
  int64_t begin(int64_t step) const { return step % steps_per_epoch * rows_per_step; }
  int64_t end(int64_t step) const;
  // Passes over the data after `steps` steps, as a fraction: whole ones, and of the last one the
  // micro-batches that are done by all that it has, as transformers' Trainer counts.
  double epochs_done(int64_t steps) const;
  // Micro-batches of a whole step, when each has so many rows.
  int64_t micro_batches(int64_t rows) const { return (rows_per_step + rows - 1) / rows; }
  // Is step k the last one of its epoch?
  bool ends_epoch(int64_t step) const { return (step + 1) % steps_per_epoch == 0; }
};
StepPlan MakeStepPlan(const TrainingConfig& config, int64_t num_rows);

// Is the validation set scored after `steps` steps (from 1)? Always after the last one.
bool EvaluationIsDue(const TrainingConfig& config, const StepPlan& plan, int64_t steps);
// How often it is in the whole run, if nothing stops that early.
int64_t NumEvaluations(const TrainingConfig& config, const StepPlan& plan);

// The peak learning rate's factor in step k (from 0) of N with W steps of warm-up: k/W for k < W,
// then linear (N-k)/(N-W); cosine (1 + cos(pi (k-W)/(N-W)))/2; constant 1. As in transformers'
// get_*_schedule_with_warmup.
double ScheduleFactor(Schedule schedule, int64_t step, const StepPlan& plan);

}  // namespace graft
