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

TEST(StepPlanTest, LastBatchAndLastWindowAreKept) {
  TrainingConfig config;
  config.batch_size = 2;
  config.gradient_accumulation_steps = 4;
  config.epochs = 3;
  const StepPlan plan = MakeStepPlan(config, 13);  // Windows of 8 and 5 rows.
  EXPECT_EQ(plan.steps_per_epoch, 2);
  EXPECT_EQ(plan.total_steps, 6);
  EXPECT_EQ(plan.begin(3), 8);
  EXPECT_EQ(plan.end(3), 13);
  EXPECT_EQ(plan.epoch(3), 1);
  EXPECT_TRUE(plan.ends_epoch(3));
  EXPECT_EQ(plan.epochs_done(3), 1 + 4.0 / 7);  // Of 7 batches.
  EXPECT_EQ(plan.epochs_done(4), 2);
}

TEST(StepPlanTest, AnEpochsPartsAreItsBatches) {
  TrainingConfig config;
  config.batch_size = 2;
  const StepPlan plan =
      MakeStepPlan(config, 7);  // The last batch has one row, and counts like one.
  EXPECT_EQ(plan.epochs_done(0), 0);
  EXPECT_EQ(plan.epochs_done(1), 0.25);
  EXPECT_EQ(plan.epochs_done(3), 0.75);
  EXPECT_EQ(plan.epochs_done(4), 1);
  EXPECT_EQ(plan.epochs_done(5), 1.25);
}

TEST(ScheduleTest, EvaluationsAreCountedAsTheyComeDue) {
  for (const int64_t rows : {1, 7, 8, 9, 40}) {
    for (const int64_t every : {0, 1, 2, 5, 100}) {
      for (const int64_t max_steps : {0, 1, 4, 5, 11}) {
        TrainingConfig config = Config(max_steps, 0);
        config.epochs = 3;
        config.batch_size = 2;
        config.gradient_accumulation_steps = 2;
        config.eval_every_steps = every;
        const StepPlan plan = MakeStepPlan(config, rows);
        int64_t due = 0;
        for (int64_t step = 1; step <= plan.total_steps; ++step) {
          due += EvaluationIsDue(config, plan, step);
        }
        EXPECT_EQ(NumEvaluations(config, plan), due) << rows << " " << every << " " << max_steps;
      }
    }
  }
}

}  // namespace
}  // namespace graft
