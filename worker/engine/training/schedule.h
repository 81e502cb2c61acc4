#pragma once

#include <cstdint>

#include "common/jobs/step_plan.h"
#include "worker/engine/engine_spec.h"

namespace graft {

StepPlan MakeStepPlan(const TrainingConfig& config, int64_t num_rows);

// The peak learning rate's factor in step k (from 0) of N with W steps of warm-up: k/W for k < W,
// then linear (N-k)/(N-W); cosine (1 + cos(pi (k-W)/(N-W)))/2; constant 1. As in transformers'
// get_*_schedule_with_warmup.
double ScheduleFactor(Schedule schedule, int64_t step, const StepPlan& plan);

}  // namespace graft
