#include "worker/engine/run/progress_meter.h"

#include "gtest/gtest.h"

namespace graft {
namespace {

class ProgressMeterTest : public ::testing::Test {
 protected:
  void Stage(Stage stage, int64_t total_steps, int64_t second) {
    StageEvent event;
    event.stage = stage;
    event.total_steps = total_steps;
    meter_.OnStage(event, absl::Seconds(second));
  }
  void Step(int64_t step, int64_t second) {
    StepEvent event;
    event.step = step;
    event.total_steps = 10;
    event.epoch = 0.5;
    meter_.OnStep(event, absl::Seconds(second));
  }
  // An evaluation of 20 rows for the loss and 4 for texts.
  void Rows(int64_t done, int64_t second) {
    const bool texts = done >= 20;
    meter_.OnRows({done, 24, texts ? 20 : 0, texts ? 24 : 20}, absl::Seconds(second));
  }
  const engine::v1::Progress& progress() const { return meter_.progress(); }

  ProgressMeter meter_;
};

TEST_F(ProgressMeterTest, TrainingCountsStepsAtThePaceSinceTheFirst) {
  Stage(Stage::kLoading, 0, 0);
  EXPECT_EQ(progress().stage(), v1::JOB_STAGE_LOADING);
  EXPECT_EQ(progress().stage_total(), 0);
  Stage(Stage::kTraining, 10, 50);
  EXPECT_EQ(progress().stage_total(), 10);
  Step(1, 100);
  EXPECT_EQ(progress().eta_seconds(), 0);  // Nothing to reckon with.
  Step(5, 108);
  EXPECT_EQ(progress().step(), 5);
  EXPECT_EQ(progress().total_steps(), 10);
  EXPECT_EQ(progress().epoch(), 0.5);
  EXPECT_EQ(progress().stage_done(), 5);
  EXPECT_EQ(progress().eta_seconds(), 10);  // 4 steps took 8 s, 5 are left.
  Step(10, 118);
  Stage(Stage::kSaving, 10, 119);
  EXPECT_EQ(progress().eta_seconds(), 0);
  EXPECT_EQ(progress().step(), 10);
}

TEST_F(ProgressMeterTest, ARunThatResumesCountsFromTheStepItBeganWith) {
  Stage(Stage::kTraining, 10, 3600);
  Step(5, 3700);
  Step(6, 3701);
  EXPECT_EQ(progress().eta_seconds(), 4);
}

TEST_F(ProgressMeterTest, ARollbackCountsFromThereAtThePaceOfWhatComes) {
  Stage(Stage::kTraining, 10, 0);
  Step(1, 10);
  Step(5, 18);
  meter_.OnRollback(4, absl::Seconds(100));
  EXPECT_EQ(progress().step(), 4);
  EXPECT_EQ(progress().stage_done(), 4);
  EXPECT_EQ(progress().eta_seconds(), 0);
  Step(5, 200);
  Step(6, 203);
  EXPECT_EQ(progress().eta_seconds(), 4 * 3);
}

TEST_F(ProgressMeterTest, AnEvaluationInTheMiddleKeepsTheStepsAndAddsItsRows) {
  Stage(Stage::kTraining, 10, 0);
  Step(1, 10);
  Step(5, 18);
  Stage(Stage::kEvaluating, 10, 20);
  Rows(0, 20);
  EXPECT_EQ(progress().step(), 5);
  EXPECT_EQ(progress().total_steps(), 10);
  EXPECT_EQ(progress().stage_done(), 0);
  EXPECT_EQ(progress().stage_total(), 24);
  Rows(10, 21);
  EXPECT_EQ(progress().eta_seconds(), 0);  // How long texts take, nobody knows.
  Rows(20, 22);
  Rows(21, 25);
  EXPECT_EQ(progress().stage_done(), 21);
  EXPECT_EQ(progress().eta_seconds(), 3 * 3 + 5 * 2);  // Three texts, five steps.
  Rows(24, 34);
  EXPECT_EQ(progress().eta_seconds(), 10);
  Stage(Stage::kTraining, 10, 36);
  EXPECT_EQ(progress().stage_done(), 5);
  EXPECT_EQ(progress().stage_total(), 10);
  Step(9, 50);
  EXPECT_EQ(progress().eta_seconds(), 5);  // 8 steps and the evaluation took 40 s.

  // The next one is as long as the last, which was 16 s, until its own pace is known.
  Stage(Stage::kEvaluating, 10, 50);
  Rows(0, 50);
  EXPECT_EQ(progress().eta_seconds(), 16 + 5);
  Rows(10, 52);
  EXPECT_EQ(progress().eta_seconds(), 14 + 5);
  Rows(20, 100);
  EXPECT_EQ(progress().eta_seconds(), 0 + 5);
  Rows(22, 102);
  EXPECT_EQ(progress().eta_seconds(), 2 + 5);
}

TEST_F(ProgressMeterTest, AnEvaluateJobsStepsAreItsRows) {
  Stage(Stage::kEvaluating, 0, 0);
  Rows(0, 0);
  Rows(10, 5);
  EXPECT_EQ(progress().stage_done(), 10);
  EXPECT_EQ(progress().step(), 10);
  EXPECT_EQ(progress().total_steps(), 24);
  Rows(20, 10);
  Rows(21, 14);
  EXPECT_EQ(progress().step(), 21);
  EXPECT_EQ(progress().eta_seconds(), 12);

  meter_ = {};
  Stage(Stage::kEvaluating, 0, 0);
  meter_.OnRows({0, 6, 0, 6}, absl::Seconds(0));
  meter_.OnRows({2, 6, 0, 6}, absl::Seconds(4));
  EXPECT_EQ(progress().step(), 2);
  EXPECT_EQ(progress().total_steps(), 6);
  EXPECT_EQ(progress().eta_seconds(), 8);
}

}  // namespace
}  // namespace graft
