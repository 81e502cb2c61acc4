#include "client/cli/progress.h"

#include <limits>

#include "client/cli/output.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/locale.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr size_t kColumns = 79;  // Of a terminal with 80.

v1::JobEvent Step(int64_t step, double loss, int64_t second, int64_t total = 150) {
  v1::JobEvent event;
  event.mutable_create_time()->set_seconds(second);
  event.mutable_metrics()->set_step(step);
  event.mutable_metrics()->set_total_steps(total);
  (*event.mutable_metrics()->mutable_values())["train/loss"] = loss;
  (*event.mutable_metrics()->mutable_values())["train/tokens_per_second"] = 444.4;
  return event;
}

v1::JobEvent State(v1::JobState state, const std::string& reason = "") {
  v1::JobEvent event;
  event.mutable_state_change()->set_to(state);
  event.mutable_state_change()->set_reason(reason);
  return event;
}

v1::JobEvent Stage(v1::JobStage stage, int64_t total_steps = 0, int64_t parameters = 0) {
  v1::JobEvent event;
  event.mutable_stage_change()->set_stage(stage);
  event.mutable_stage_change()->set_total_steps(total_steps);
  event.mutable_stage_change()->set_trainable_parameters(parameters / 2);
  event.mutable_stage_change()->set_total_parameters(parameters);
  event.mutable_stage_change()->set_device("cpu");
  event.mutable_stage_change()->set_precision("fp32");
  return event;
}

v1::WatchJobResponse::Heartbeat Heartbeat(v1::JobStage stage, int64_t done, int64_t total,
                                          double eta_seconds = 0, double silent_seconds = 0) {
  v1::WatchJobResponse::Heartbeat heartbeat;
  heartbeat.set_state(v1::JOB_STATE_RUNNING);
  heartbeat.set_stage(stage);
  heartbeat.set_stage_done(done);
  heartbeat.set_stage_total(total);
  heartbeat.set_eta_seconds(eta_seconds);
  heartbeat.set_worker_silent_seconds(silent_seconds);
  return heartbeat;
}

// A view, and the time on its clock.
class ProgressTest : public ::testing::Test {
 protected:
  std::string Add(const v1::JobEvent& event) { return view_.Add(event, now_, 128); }
  std::string Add(const v1::WatchJobResponse::Heartbeat& heartbeat) {
    return view_.Add(heartbeat, now_);
  }
  std::string Line(size_t columns = kColumns) { return view_.Line(columns, now_); }
  // A job in the middle of its training: step 17 of 150, 210 s to go.
  void Train() {
    Add(State(v1::JOB_STATE_RUNNING));
    Add(Stage(v1::JOB_STAGE_TRAINING, 150));
    int64_t step = 13;
    for (const double loss : {3.3, 3.6, 3.2, 3.5, 3.119}) Add(Step(step++, loss, 100));
    Add(Heartbeat(v1::JOB_STAGE_TRAINING, 16, 150, 210));
  }

  const Utf8Locale locale_;
  absl::Duration now_ = absl::Seconds(5000);
  ProgressView view_{{}};
};

TEST_F(ProgressTest, TheCurveFallsWithTheLoss) {
  EXPECT_EQ(LossCurve({3, 2, 1}, 8), "█▄▁");
  EXPECT_EQ(LossCurve({4, 4, 3, 3, 2, 2, 1, 1}, 4), "█▆▃▁");
  EXPECT_EQ(LossCurve({1, 1}, 8), "▁▁");
  EXPECT_EQ(LossCurve({2, 1}, 0), "");
  EXPECT_EQ(LossCurve({1}, 8), "");
}

TEST_F(ProgressTest, TheLineOf80ColumnsTellsDoneLeftLossAndSpeed) {
  Train();
  EXPECT_EQ(Line(), "17/150 11%  ETA 3m30s  loss 3.119 ▄█▂▇▁  444 tok/s");
}

TEST_F(ProgressTest, TheLessRoomTheMoreIsLeftOutOnTheRight) {
  Train();
  const std::string whole = Line(50);
  EXPECT_EQ(whole, "17/150 11%  ETA 3m30s  loss 3.119 ▄█▂▇▁  444 tok/s");
  EXPECT_EQ(Line(49), "17/150 11%  ETA 3m30s  loss 3.119 ▂█▁▃  444 tok/s");
  EXPECT_EQ(Line(48), "17/150 11%  ETA 3m30s  loss 3.119 ▄█▂▇▁");
  EXPECT_EQ(Line(39), "17/150 11%  ETA 3m30s  loss 3.119 ▄█▂▇▁");
  EXPECT_EQ(Line(36), "17/150 11%  ETA 3m30s  loss 3.119 █▁");
  EXPECT_EQ(Line(34), "17/150 11%  ETA 3m30s  loss 3.119");
  EXPECT_EQ(Line(32), "17/150 11%  ETA 3m30s");
  EXPECT_EQ(Line(20), "17/150 11%");
  EXPECT_EQ(Line(8), "17/150 …");
  for (size_t columns = 1; columns < 100; ++columns) {
    EXPECT_LE(DisplayWidth(Line(columns)), columns) << Line(columns);
  }
}

TEST_F(ProgressTest, WithoutUtf8TheLineIsAscii) {
  const CLocale locale;
  view_ = ProgressView({.utf8 = false});
  Train();
  EXPECT_EQ(Line(), "17/150 11%  ETA 3m30s  loss 3.119  444 tok/s");
  EXPECT_EQ(Line(8), "17/15...");
}

TEST_F(ProgressTest, AResumedRunSaysThatItsMicroBatchesAreSmaller) {
  v1::JobEvent stage = Stage(v1::JOB_STAGE_TRAINING, 150, 2000);
  stage.mutable_stage_change()->set_batch_size(2);
  stage.mutable_stage_change()->set_gradient_accumulation_steps(4);
  EXPECT_THAT(Add(stage), HasSubstr("150 steps of 4 micro-batches of 2 rows, as memory holds"));
}

TEST_F(ProgressTest, TheTimeLeftRunsDownBetweenHeartbeats) {
  Train();
  now_ += absl::Seconds(15);
  EXPECT_THAT(Line(), HasSubstr("ETA 3m15s"));
  Add(Heartbeat(v1::JOB_STAGE_TRAINING, 149, 150, 12));
  EXPECT_THAT(Line(), HasSubstr("149/150 99%  ETA 12s  "));
  now_ += absl::Seconds(12);
  EXPECT_THAT(Line(), Not(HasSubstr("ETA")));
}

TEST_F(ProgressTest, SmallLossesKeepTheirDigits) {
  Train();
  Add(Step(18, 0.0404, 101));
  EXPECT_THAT(Line(), HasSubstr("loss 0.04040 "));
}

TEST_F(ProgressTest, AnEvaluationInTheMiddleHasPercentAndTimeLeft) {
  Train();
  Add(Stage(v1::JOB_STAGE_EVALUATING, 150));
  EXPECT_EQ(Line(), "17/150 11%  ETA 3m30s  evaluating");
  Add(Heartbeat(v1::JOB_STAGE_EVALUATING, 12, 40, 100));
  EXPECT_EQ(Line(), "17/150 11%  ETA 1m40s  evaluating 12/40 30%");
  EXPECT_EQ(Line(39), "17/150 11%  ETA 1m40s");
  Add(Stage(v1::JOB_STAGE_TRAINING, 150));
  EXPECT_THAT(Line(), HasSubstr("loss 3.119"));
  Add(Stage(v1::JOB_STAGE_SAVING, 150));
  Add(Heartbeat(v1::JOB_STAGE_SAVING, 0, 0));
  EXPECT_EQ(Line(), "17/150 11%  saving");
}

TEST_F(ProgressTest, AnEvaluateJobCountsItsRows) {
  Add(State(v1::JOB_STATE_RUNNING));
  Add(Stage(v1::JOB_STAGE_LOADING));
  EXPECT_EQ(Line(), "loading");
  EXPECT_EQ(Add(Stage(v1::JOB_STAGE_EVALUATING, 0, 2000)),
            "evaluating a model of 2,000 parameters on cpu in fp32\n");
  EXPECT_EQ(Line(), "evaluating");
  Add(Heartbeat(v1::JOB_STAGE_EVALUATING, 12, 112, 90));
  EXPECT_EQ(Line(), "12/112 10%  ETA 1m30s  evaluating");
  v1::JobEvent result;
  (*result.mutable_evaluation()->mutable_values())["eval/loss"] = 0.5;
  EXPECT_EQ(Add(result), "evaluation: loss 0.5000\n");
}

TEST_F(ProgressTest, ASilentWorkerIsToldOfWithItsSilence) {
  Train();
  Add(Heartbeat(v1::JOB_STAGE_TRAINING, 17, 150, 210, 19));
  EXPECT_THAT(Line(), HasSubstr("ETA"));
  now_ += absl::Seconds(1);
  EXPECT_EQ(Line(), "17/150 11%  no news for 20 s  loss 3.119 ▄█▂▇▁");
  now_ += absl::Seconds(20);
  EXPECT_EQ(Line(39), "17/150 11%  no news for 40 s");
  now_ += absl::Seconds(100);
  EXPECT_THAT(Line(), HasSubstr("no news for 2m20s"));
  // Queued again, it is nobody's.
  Add(State(v1::JOB_STATE_QUEUED, "lease of worker w expired"));
  EXPECT_EQ(Line(), "queued");
}

TEST_F(ProgressTest, WhoWatchesAPausedJobIsToldHowItGoesOn) {
  EXPECT_EQ(Add(State(v1::JOB_STATE_PAUSED, "paused after step 7")),
            "paused (paused after step 7); graft resume lets it go on\n");
}

TEST_F(ProgressTest, BeforeAnythingIsHeardItConnects) { EXPECT_EQ(Line(), "connecting"); }

TEST_F(ProgressTest, ASilentServerIsToldOfToo) {
  v1::WatchJobResponse::Heartbeat heartbeat;
  heartbeat.set_state(v1::JOB_STATE_QUEUED);
  heartbeat.set_queue_position(3);
  Add(heartbeat);
  EXPECT_EQ(Line(), "queued, place 3");
  now_ += absl::Seconds(40);
  EXPECT_EQ(Line(), "queued, place 3  no news for 40 s");
}

TEST_F(ProgressTest, AQueuedJobTellsWhyItWaitsAndWhenItStarts) {
  v1::WatchJobResponse::Heartbeat heartbeat;
  heartbeat.set_state(v1::JOB_STATE_QUEUED);
  heartbeat.set_queue_position(3);
  heartbeat.set_waits("the only worker that can do it is busy; 2 jobs go first");
  heartbeat.set_expected_start_seconds(70);
  EXPECT_EQ(Add(heartbeat), "") << "the line that is redrawn says it";
  EXPECT_EQ(Line(50), "queued, place 3  starts in 1m10s  the only worker…");
  now_ += absl::Seconds(10);
  EXPECT_THAT(Line(), HasSubstr("starts in 1m00s"));
  now_ += absl::Seconds(65);
  EXPECT_THAT(Line(), Not(HasSubstr("starts in")));
  Add(State(v1::JOB_STATE_RUNNING));
  EXPECT_EQ(Line(), "running");
}

TEST(PlainProgressTest, WhyAJobWaitsIsALineWheneverThereIsAnotherReason) {
  ProgressView view({"jobs/k3f9", /*plain=*/true, /*utf8=*/true});
  v1::WatchJobResponse::Heartbeat heartbeat;
  heartbeat.set_state(v1::JOB_STATE_QUEUED);
  heartbeat.set_waits("it is offered again in 9 s");
  EXPECT_EQ(view.Add(heartbeat, absl::ZeroDuration()),
            "jobs/k3f9: waits: it is offered again in 9 s\n");
  heartbeat.set_waits("it is offered again in 8 s");
  EXPECT_EQ(view.Add(heartbeat, absl::Seconds(1)), "") << "time goes by";
  heartbeat.set_waits("no worker is connected");
  EXPECT_EQ(view.Add(heartbeat, absl::Seconds(2)), "jobs/k3f9: waits: no worker is connected\n");
}

TEST_F(ProgressTest, WhatTrainsIsSaidOnceForAnAttempt) {
  const v1::JobEvent training = Stage(v1::JOB_STAGE_TRAINING, 10, 2000);
  Add(State(v1::JOB_STATE_RUNNING));
  EXPECT_EQ(Add(training), "training 1,000 of 2,000 parameters on cpu in fp32, 10 steps\n");
  EXPECT_EQ(Add(training), "");
  Add(State(v1::JOB_STATE_RUNNING));
  EXPECT_THAT(Add(training), HasSubstr("training 1,000 of"));
}

TEST_F(ProgressTest, AnotherAttemptBeginsWithoutTheOldOnesCount) {
  Train();
  Add(State(v1::JOB_STATE_RUNNING, "claimed by worker w, attempt 2"));
  EXPECT_EQ(Line(), "running");
  Add(Stage(v1::JOB_STAGE_LOADING));
  EXPECT_EQ(Line(), "loading");
  Add(Heartbeat(v1::JOB_STAGE_TRAINING, 5, 150));
  EXPECT_THAT(Line(), HasSubstr("5/150 3%"));
}

TEST_F(ProgressTest, PlainLinesComeEverySecondsAndAtTheEnd) {
  view_ = ProgressView({.plain = true});
  EXPECT_EQ(Add(Step(1, 2, 100, 10)), "step 1/10  epoch 0.00  loss 2.0000  444 tok/s\n");
  EXPECT_EQ(Add(Step(2, 2, 101, 10)), "");
  EXPECT_NE(Add(Step(3, 2, 102, 10)), "");
  EXPECT_NE(Add(Step(10, 2, 102, 10)), "");
  view_ = ProgressView({});
  EXPECT_EQ(Add(Step(10, 2, 102, 10)), "");
}

TEST_F(ProgressTest, PlainLinesTellOfRowsAndOfSilenceOnce) {
  view_ = ProgressView({.plain = true});
  Train();
  Add(Stage(v1::JOB_STAGE_EVALUATING, 150));
  EXPECT_EQ(Add(Heartbeat(v1::JOB_STAGE_EVALUATING, 12, 40, 100)),
            "17/150 11%  ETA 1m40s  evaluating 12/40 30%\n");
  now_ += absl::Seconds(9);
  EXPECT_EQ(Add(Heartbeat(v1::JOB_STAGE_EVALUATING, 14, 40)), "");
  now_ += absl::Seconds(1);
  EXPECT_NE(Add(Heartbeat(v1::JOB_STAGE_EVALUATING, 15, 40)), "");
  EXPECT_EQ(Add(Heartbeat(v1::JOB_STAGE_EVALUATING, 15, 40, 0, 41)), "no news for 41 s\n");
  EXPECT_EQ(Add(Heartbeat(v1::JOB_STAGE_EVALUATING, 15, 40, 0, 48)), "");
  Add(Heartbeat(v1::JOB_STAGE_EVALUATING, 15, 40, 0, 1));
  EXPECT_EQ(Add(Heartbeat(v1::JOB_STAGE_EVALUATING, 15, 40, 0, 30)), "no news for 30 s\n");
}

TEST_F(ProgressTest, OneOfSeveralJobsHasItsNameInFront) {
  view_ = ProgressView({.prefix = "jobs/a"});
  EXPECT_EQ(Add(State(v1::JOB_STATE_RUNNING, "claimed by worker w")),
            "jobs/a: running (claimed by worker w)\n");
  Train();
  EXPECT_EQ(Line(), "jobs/a  17/150 11%  ETA 3m30s  loss 3.119 ▄█▂▇▁  444 tok/s");
}

TEST_F(ProgressTest, AFailureShowsItsErrorOnce) {
  v1::JobEvent event = State(v1::JOB_STATE_FAILED, "line 17: no JSON");
  event.mutable_state_change()->mutable_error()->set_code(3);
  event.mutable_state_change()->mutable_error()->set_message("line 17: no JSON");
  EXPECT_EQ(Add(event), "failed (line 17: no JSON)\n");
}

TEST_F(ProgressTest, AnEvaluationNamesItsScoresAndTheBest) {
  v1::JobEvent event;
  event.mutable_evaluation()->set_step(40);
  event.mutable_evaluation()->set_is_best(true);
  (*event.mutable_evaluation()->mutable_values())["eval/loss"] = 0.5;
  (*event.mutable_evaluation()->mutable_values())["eval/rougeLsum"] = 0.61;
  EXPECT_EQ(Add(event), "evaluation at step 40: loss 0.5000  rougeLsum 0.610  (best)\n");
}

TEST_F(ProgressTest, OfSeveralAdaptersEachScoreAndSampleSaysWhoseItIs) {
  v1::JobEvent evaluation;
  evaluation.mutable_evaluation()->set_adapter("news-lora");
  (*evaluation.mutable_evaluation()->mutable_values())["eval/loss"] = 0.5;
  EXPECT_THAT(Add(evaluation), ::testing::StartsWith("evaluation of news-lora"));
  v1::JobEvent samples;
  samples.mutable_samples()->set_adapter("news-lora");
  samples.mutable_samples()->add_texts()->set_prediction("text");
  EXPECT_THAT(Add(samples), ::testing::StartsWith("  by news-lora\n  row 0   predicted: text\n"));
}

TEST_F(ProgressTest, ADivergenceNamesItsRowsAndWhatBecameOfIt) {
  Train();
  v1::JobEvent event;
  v1::Divergence& divergence = *event.mutable_divergence();
  divergence.set_step(18);
  divergence.set_loss(std::numeric_limits<double>::quiet_NaN());
  divergence.set_grad_norm(std::numeric_limits<double>::infinity());
  divergence.set_action(v1::DIVERGENCE_ACTION_STOPPED);
  EXPECT_EQ(Add(event),
            "step 18 diverged (loss nan, gradient norm inf): the job stops; each of its rows is "
            "finite by itself\n");
  v1::Divergence::Row& row = *divergence.add_rows();
  row.set_line(12);
  row.set_id("a7");
  row.set_loss(std::numeric_limits<double>::quiet_NaN());
  row.set_grad_norm(3);
  row.set_source("The first\nof two lines");
  divergence.set_action(v1::DIVERGENCE_ACTION_SKIPPED);
  EXPECT_EQ(Add(event),
            "step 18 diverged (loss nan, gradient norm inf): its update is skipped\n"
            "  line 12  id a7  loss nan  gradient norm 3  The first of two lines\n");
  row.clear_id();
  row.set_source(std::string(300, 'x'));
  divergence.set_action(v1::DIVERGENCE_ACTION_ROLLED_BACK);
  const std::string back = Add(event);
  EXPECT_THAT(back, HasSubstr("goes back to the beginning and on without these rows\n  line 12  "));
  EXPECT_LE(back.size() - back.find("  line 12"), 128u + 3u);
  divergence.set_rolled_back_to_step(10);
  EXPECT_THAT(Add(event), HasSubstr("goes back to step 10 and on"));
  EXPECT_THAT(Line(), HasSubstr("10/150"));
}

TEST_F(ProgressTest, SampleTextsFitTheTerminal) {
  v1::JobEvent event;
  v1::SampleText& text = *event.mutable_samples()->add_texts();
  text.set_row(3);
  text.set_prediction(std::string(500, 'p'));
  text.set_reference("short");
  const std::string lines = view_.Add(event, now_, 60);
  const size_t first = lines.find('\n');
  EXPECT_LE(DisplayWidth(lines.substr(0, first)), 61u);
  EXPECT_THAT(lines, HasSubstr("  row 3   predicted: ppp"));
  EXPECT_THAT(lines.substr(first + 1), "           expected: short\n");
}

}  // namespace
}  // namespace graft
