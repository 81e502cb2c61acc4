#include "client/cli/progress.h"

#include "client/cli/output.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

v1::JobEvent Step(int64_t step, double loss, int64_t second) {
  v1::JobEvent event;
  event.mutable_create_time()->set_seconds(second);
  event.mutable_metrics()->set_step(step);
  event.mutable_metrics()->set_total_steps(10);
  (*event.mutable_metrics()->mutable_values())["train/loss"] = loss;
  return event;
}

v1::JobEvent Running() {
  v1::JobEvent event;
  event.mutable_state_change()->set_to(v1::JOB_STATE_RUNNING);
  return event;
}

v1::JobEvent Training() {
  v1::JobEvent event;
  event.mutable_stage_change()->set_stage(v1::JOB_STAGE_TRAINING);
  return event;
}

TEST(ProgressTest, TheCurveFallsWithTheLoss) {
  EXPECT_EQ(LossCurve({3, 2, 1}, 8), "█▄▁");
  EXPECT_EQ(LossCurve({4, 4, 3, 3, 2, 2, 1, 1}, 4), "█▆▃▁");
  EXPECT_EQ(LossCurve({1, 1}, 8), "▁▁");
  EXPECT_EQ(LossCurve({1}, 8), "");
}

TEST(ProgressTest, TheLineTellsStepLossAndTimeLeft) {
  ProgressView view("jobs/a");
  view.Add(Running(), false);
  view.Add(Training(), false);
  view.Add(Step(1, 2.5, 100), false);
  view.Add(Step(5, 1.5, 108), false);
  const std::string line = view.Line(200);
  EXPECT_THAT(line, HasSubstr("step 5/10"));
  EXPECT_THAT(line, HasSubstr("loss 1.5000"));
  EXPECT_THAT(line, HasSubstr("ETA 10.0s"));  // 4 steps took 8 s, 5 are left.
  EXPECT_LE(DisplayWidth(view.Line(30)), 30u);
}

TEST(ProgressTest, TheTimeLeftCountsFromTheAttemptThatRuns) {
  ProgressView view("jobs/a");
  view.Add(Running(), false);
  view.Add(Training(), false);
  view.Add(Step(1, 2.5, 100), false);
  view.Add(Running(), false);  // Resumed after an hour.
  view.Add(Training(), false);
  view.Add(Step(5, 2, 3700), false);
  view.Add(Step(6, 2, 3701), false);
  EXPECT_THAT(view.Line(200), HasSubstr("ETA 4.0s"));
}

TEST(ProgressTest, WhatTrainsIsSaidOnceForAnAttempt) {
  ProgressView view("jobs/a");
  v1::JobEvent training = Training();
  training.mutable_stage_change()->set_trainable_parameters(1000);
  training.mutable_stage_change()->set_total_parameters(2000);
  training.mutable_stage_change()->set_total_steps(10);
  view.Add(Running(), false);
  EXPECT_THAT(view.Add(training, false), HasSubstr("training 1,000 of"));
  EXPECT_EQ(view.Add(training, false), "");
  view.Add(Running(), false);
  EXPECT_THAT(view.Add(training, false), HasSubstr("training 1,000 of"));
}

TEST(ProgressTest, PlainLinesComeEverySecondsAndAtTheEnd) {
  ProgressView view("jobs/a");
  EXPECT_NE(view.Add(Step(1, 2, 100), true), "");
  EXPECT_EQ(view.Add(Step(2, 2, 101), true), "");
  EXPECT_NE(view.Add(Step(3, 2, 102), true), "");
  EXPECT_NE(view.Add(Step(10, 2, 102), true), "");
  EXPECT_EQ(view.Add(Step(10, 2, 102), false), "");
}

TEST(ProgressTest, AFailureShowsItsErrorOnce) {
  ProgressView view("jobs/a");
  v1::JobEvent event;
  event.mutable_state_change()->set_to(v1::JOB_STATE_FAILED);
  event.mutable_state_change()->set_reason("line 17: no JSON");
  event.mutable_state_change()->mutable_error()->set_code(3);
  event.mutable_state_change()->mutable_error()->set_message("line 17: no JSON");
  EXPECT_EQ(view.Add(event, false), "jobs/a: failed (line 17: no JSON)\n");
}

TEST(ProgressTest, AnEvaluationNamesItsScoresAndTheBest) {
  ProgressView view("jobs/a");
  v1::JobEvent event;
  event.mutable_evaluation()->set_step(40);
  event.mutable_evaluation()->set_is_best(true);
  (*event.mutable_evaluation()->mutable_values())["eval/loss"] = 0.5;
  (*event.mutable_evaluation()->mutable_values())["eval/rougeLsum"] = 0.61;
  EXPECT_EQ(view.Add(event, false),
            "jobs/a: evaluation at step 40: loss 0.5000  rougeLsum 0.610  (best)\n");
}

TEST(ProgressTest, AnEvaluateJobSpeaksOfNoSteps) {
  ProgressView view("jobs/a");
  v1::JobEvent stage, result;
  stage.mutable_stage_change()->set_stage(v1::JOB_STAGE_EVALUATING);
  stage.mutable_stage_change()->set_total_parameters(2000);
  stage.mutable_stage_change()->set_device("cpu");
  stage.mutable_stage_change()->set_precision("fp32");
  EXPECT_EQ(view.Add(stage, false),
            "jobs/a: evaluating a model of 2,000 parameters on cpu in fp32\n");
  (*result.mutable_evaluation()->mutable_values())["eval/loss"] = 0.5;
  EXPECT_EQ(view.Add(result, false), "jobs/a: evaluation: loss 0.5000\n");
}

TEST(ProgressTest, AQueuedJobShowsItsPlace) {
  ProgressView view("jobs/a");
  v1::WatchJobResponse::Heartbeat heartbeat;
  heartbeat.set_state(v1::JOB_STATE_QUEUED);
  heartbeat.set_queue_position(3);
  view.Add(heartbeat);
  EXPECT_EQ(view.Line(80), "jobs/a  queued, place 3");
}

}  // namespace
}  // namespace graft
