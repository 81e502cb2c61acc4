#include "common/jobs/step_plan.h"

#include "gtest/gtest.h"

namespace graft {
namespace {

StepSettings Settings(int64_t batch_size, int64_t accumulation, int64_t epochs) {
  StepSettings settings;
  settings.batch_size = batch_size;
  settings.gradient_accumulation_steps = accumulation;
  settings.epochs = epochs;
  return settings;
}

TEST(StepPlanTest, LastBatchAndLastWindowAreKept) {
  const StepPlan plan = MakeStepPlan(Settings(2, 4, 3), 13);  // Windows of 8 and 5 rows.
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
  // The last batch has one row, and counts like one.
  const StepPlan plan = MakeStepPlan(Settings(2, 1, 10), 7);
  EXPECT_EQ(plan.epochs_done(0), 0);
  EXPECT_EQ(plan.epochs_done(1), 0.25);
  EXPECT_EQ(plan.epochs_done(3), 0.75);
  EXPECT_EQ(plan.epochs_done(4), 1);
  EXPECT_EQ(plan.epochs_done(5), 1.25);
}

TEST(StepPlanTest, MaxStepsCountBeforeEpochs) {
  StepSettings settings = Settings(2, 1, 10);
  settings.max_steps = 3;
  EXPECT_EQ(MakeStepPlan(settings, 8).total_steps, 3);
}

TEST(StepPlanTest, WarmUpRatioIsRoundedUp) {
  StepSettings settings = Settings(1, 1, 1);
  settings.warmup_ratio = 0.1;
  EXPECT_EQ(MakeStepPlan(settings, 11).warmup_steps, 2);
  settings.warmup_steps = 5;
  EXPECT_EQ(MakeStepPlan(settings, 11).warmup_steps, 5);
}

// The number is that of the steps after which there is one.
TEST(StepPlanTest, EvaluationsAreAtEpochsOrEveryFewStepsAndAtTheEnd) {
  for (const int64_t max_steps : {0, 1, 4, 7, 8}) {
    for (const int64_t every : {0, 1, 3, 4, 100}) {
      StepSettings settings = Settings(2, 1, 3);
      settings.max_steps = max_steps;
      const StepPlan plan = MakeStepPlan(settings, 7);  // 4 steps an epoch.
      int64_t count = 0;
      for (int64_t k = 1; k <= plan.total_steps; ++k) count += plan.evaluates_after(k, every);
      EXPECT_EQ(plan.evaluations(every), count) << max_steps << " steps, every " << every;
      EXPECT_TRUE(plan.evaluates_after(plan.total_steps, every));
    }
  }
  const StepPlan plan = MakeStepPlan(Settings(2, 1, 3), 7);
  EXPECT_EQ(plan.evaluations(0), 3);
  EXPECT_EQ(plan.evaluations(5), 3);  // After 5, 10 and 12.
  EXPECT_FALSE(plan.evaluates_after(3, 0));
  EXPECT_TRUE(plan.evaluates_after(4, 0));
}

}  // namespace
}  // namespace graft
