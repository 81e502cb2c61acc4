#include "worker/engine/training/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace graft {
namespace {

using ::testing::DoubleNear;
using ::testing::Pointwise;

TrainingConfig Config(int64_t max_steps, int64_t warmup_steps) {
  TrainingConfig config;
  config.max_steps = max_steps;
  config.warmup_steps = warmup_steps;
  return config;
}

std::vector<double> Factors(Schedule schedule, const TrainingConfig& config) {
  const StepPlan plan = MakeStepPlan(config, 100);
  std::vector<double> factors;
  for (int64_t step = 0; step < plan.total_steps; ++step) {
    factors.push_back(ScheduleFactor(schedule, step, plan));
  }
  return factors;
}

auto Near(const std::vector<double>& values) { return Pointwise(DoubleNear(1e-5), values); }

// What transformers' schedules give (peft.md, part B10).
TEST(ScheduleTest, LinearWarmsUpFromZeroAndEndsAboveZero) {
  EXPECT_THAT(Factors(Schedule::kLinear, Config(10, 3)),
              Near({0, 1.0 / 3, 2.0 / 3, 1, 6.0 / 7, 5.0 / 7, 4.0 / 7, 3.0 / 7, 2.0 / 7, 1.0 / 7}));
  EXPECT_THAT(Factors(Schedule::kLinear, Config(4, 0)), Near({1, 0.75, 0.5, 0.25}));
}

TEST(ScheduleTest, CosineIsHalfAWave) {
  EXPECT_THAT(Factors(Schedule::kCosine, Config(6, 2)), Near({0, .5, 1, .85355, .5, .14645}));
}

TEST(ScheduleTest, ConstantStaysAfterWarmUp) {
  EXPECT_THAT(Factors(Schedule::kConstant, Config(4, 2)), Near({0, .5, 1, 1}));
}

TEST(ScheduleTest, WarmUpRatioIsRoundedUp) {
  TrainingConfig config = Config(11, 0);
  config.warmup_ratio = 0.1;
  EXPECT_EQ(MakeStepPlan(config, 5).warmup_steps, 2);
}

}  // namespace
}  // namespace graft
