#pragma once

// How a training is cut into optimiser steps, and when it evaluates. Plain arithmetic: the engine
// trains by it and the server plans by it.

#include <algorithm>
#include <cstdint>

#include "common/jobs/share.h"

namespace graft {

inline int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// What of a resolved TrainingSpec says so.
struct StepSettings {
  int64_t epochs = 0;
  int64_t max_steps = 0;  // > 0: overrides epochs.
  int64_t batch_size = 1;
  int64_t gradient_accumulation_steps = 1;
  int64_t warmup_steps = 0;
  double warmup_ratio = 0;  // Used when warmup_steps is 0: ceil(ratio * total steps).
};

// A pass over the data is ceil(rows / batch_size) micro-batches, gradient_accumulation_steps of
// them a step; the last of both may be smaller.
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
  int64_t end(int64_t step) const { return std::min(num_rows, begin(step) + rows_per_step); }
  // Passes over the data after `steps` steps, as a fraction: whole ones, and of the last one the
  // micro-batches that are done by all that it has, as transformers' Trainer counts.
  double epochs_done(int64_t steps) const {
    if (steps == 0) return 0;
    const int64_t last = steps - 1;
    return static_cast<double>(epoch(last)) +
           static_cast<double>(CeilDivide(end(last), batch_size)) /
               static_cast<double>(CeilDivide(num_rows, batch_size));
  }
  // Micro-batches of a whole step, when each has so many rows.
  int64_t micro_batches(int64_t rows) const { return CeilDivide(rows_per_step, rows); }
  // Is step k the last one of its epoch?
  bool ends_epoch(int64_t step) const { return (step + 1) % steps_per_epoch == 0; }

  // Is there an evaluation after `steps` (> 0) steps? `every`: after so many; 0: at each epoch's
  // end. There is one at the end in any case.
  bool evaluates_after(int64_t steps, int64_t every) const {
    return steps >= total_steps || (every > 0 ? steps % every == 0 : ends_epoch(steps - 1));
  }
  // In the whole run.
  int64_t evaluations(int64_t every) const {
    return CeilDivide(total_steps, every > 0 ? every : steps_per_epoch);
  }
};

// `num_rows` > 0.
inline StepPlan MakeStepPlan(const StepSettings& settings, int64_t num_rows) {
  StepPlan plan;
  plan.num_rows = num_rows;
  plan.batch_size = settings.batch_size;
  plan.rows_per_step = settings.batch_size * settings.gradient_accumulation_steps;
  plan.steps_per_epoch = CeilDivide(num_rows, plan.rows_per_step);
  plan.total_steps =
      settings.max_steps > 0 ? settings.max_steps : settings.epochs * plan.steps_per_epoch;
  plan.warmup_steps = settings.warmup_steps;
  if (plan.warmup_steps == 0 && settings.warmup_ratio > 0) {
    plan.warmup_steps = CeilShare(settings.warmup_ratio, plan.total_steps);
  }
  return plan;
}

}  // namespace graft
