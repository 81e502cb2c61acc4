#include "worker/engine/training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace graft {

StepPlan MakeStepPlan(const TrainingConfig& config, int64_t num_rows) {
  return MakeStepPlan(
      StepSettings{config.epochs, config.max_steps, config.batch_size,
                   config.gradient_accumulation_steps, config.warmup_steps, config.warmup_ratio},
      num_rows);
}

double ScheduleFactor(Schedule schedule, int64_t step, const StepPlan& plan) {
  const double k = static_cast<double>(step);
  const double warmup = static_cast<double>(plan.warmup_steps);
  if (step < plan.warmup_steps) return k / std::max(1.0, warmup);
  const double rest = std::max(1.0, static_cast<double>(plan.total_steps) - warmup);
  switch (schedule) {
    case Schedule::kLinear:
      return std::max(0.0, (static_cast<double>(plan.total_steps) - k) / rest);
    case Schedule::kCosine:
      return std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * (k - warmup) / rest)));
    case Schedule::kConstant:
      break;
  }
  return 1;
}

}  // namespace graft
