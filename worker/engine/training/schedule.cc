#include "worker/engine/training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/jobs/share.h"

namespace graft {
namespace {

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

int64_t StepPlan::end(int64_t step) const {
  return std::min(num_rows, begin(step) + rows_per_step);
}

double StepPlan::epochs_done(int64_t steps) const {
  if (steps == 0) return 0;
  const int64_t last = steps - 1;
  return static_cast<double>(epoch(last)) +
         static_cast<double>(CeilDivide(end(last), batch_size)) /
             static_cast<double>(CeilDivide(num_rows, batch_size));
}

StepPlan MakeStepPlan(const TrainingConfig& config, int64_t num_rows) {
  StepPlan plan;
  plan.num_rows = num_rows;
  plan.batch_size = config.batch_size;
  plan.rows_per_step = config.batch_size * config.gradient_accumulation_steps;
  plan.steps_per_epoch = CeilDivide(num_rows, plan.rows_per_step);
  plan.total_steps = config.max_steps > 0 ? config.max_steps : config.epochs * plan.steps_per_epoch;
  plan.warmup_steps = config.warmup_steps;
  if (plan.warmup_steps == 0 && config.warmup_ratio > 0) {
    plan.warmup_steps = CeilShare(config.warmup_ratio, plan.total_steps);
  }
  return plan;
}

bool EvaluationIsDue(const TrainingConfig& config, const StepPlan& plan, int64_t steps) {
  if (steps >= plan.total_steps) return true;
  if (config.eval_every_steps > 0) return steps % config.eval_every_steps == 0;
  return plan.ends_epoch(steps - 1);
}

int64_t NumEvaluations(const TrainingConfig& config, const StepPlan& plan) {
  const int64_t every =
      config.eval_every_steps > 0 ? config.eval_every_steps : plan.steps_per_epoch;
  return CeilDivide(plan.total_steps, every);
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
