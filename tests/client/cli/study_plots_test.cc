#include "client/cli/study_plots.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kRank[] = "fine_tune.method.lora.rank";

v1::Study StudyOf(const std::string& field, const std::vector<std::string>& values) {
  v1::Study study;
  study.mutable_objective()->set_metric("eval/loss");
  (*study.mutable_space())[field].mutable_choices();
  for (const std::string& value : values) {
    v1::Trial& trial = *study.add_trials();
    trial.set_number(study.trials_size());
    (*trial.mutable_parameters())[field] = value;
  }
  return study;
}

std::vector<std::string> Ticks(const Plot& plot) {
  std::vector<std::string> texts;
  for (const PlotTick& tick : plot.x_ticks) texts.push_back(tick.text);
  return texts;
}

TEST(StudyPlotsTest, WithoutAValueThereIsNothingToDraw) {
  EXPECT_THAT(StudyPlots(StudyOf(kRank, {"2", "4"})), IsEmpty());
}

TEST(StudyPlotsTest, TrialsThatEndedEarlierStandApart) {
  v1::Study study = StudyOf(kRank, {"8", "2", "4"});
  study.mutable_trials(0)->set_value(0.3);
  study.mutable_trials(1)->set_value(0.5);
  for (const int step : {10, 20}) {
    v1::RungValue& rung = *study.mutable_trials(2)->add_values();
    rung.set_step(step);
    rung.set_value(step * 0.1);
  }
  const std::vector<Plot> plots = StudyPlots(study);
  ASSERT_EQ(plots.size(), 1u);
  EXPECT_EQ(plots[0].title, "eval/loss by fine_tune.method.lora.rank");
  EXPECT_EQ(plots[0].x_title, "rank");
  EXPECT_TRUE(plots[0].scattered);
  EXPECT_THAT(Ticks(plots[0]), ElementsAre("2", "4", "8"));
  ASSERT_EQ(plots[0].curves.size(), 2u);
  const PlotCurve& ends = plots[0].curves[0];
  EXPECT_EQ(ends.label, "at the end: 2 trials");
  ASSERT_EQ(ends.points.size(), 2u);
  EXPECT_EQ(ends.points[0].x, 2);
  EXPECT_EQ(ends.points[0].y, 0.5);
  EXPECT_EQ(ends.points[1].x, 8);
  const PlotCurve& early = plots[0].curves[1];
  EXPECT_THAT(early.label, HasSubstr("after 20 steps"));
  ASSERT_EQ(early.points.size(), 1u);
  EXPECT_EQ(early.points[0].x, 4);
  EXPECT_EQ(early.points[0].y, 2.0);
}

TEST(StudyPlotsTest, WideRangesAreLogarithmic) {
  v1::Study study = StudyOf("fine_tune.training.learning_rate", {"1e-05", "0.001"});
  for (v1::Trial& trial : *study.mutable_trials()) trial.set_value(1);
  EXPECT_NEAR(StudyPlots(study)[0].curves[0].points[0].x, -5, 1e-9);
  EXPECT_THAT(Ticks(StudyPlots(study)[0]), ElementsAre("1e-05", "0.001"));

  study = StudyOf("fine_tune.training.learning_rate", {"0.001", "0.002"});
  for (v1::Trial& trial : *study.mutable_trials()) trial.set_value(1);
  EXPECT_EQ(StudyPlots(study)[0].curves[0].points[0].x, 0.001);
  (*study.mutable_space())["fine_tune.training.learning_rate"].mutable_log_range();
  EXPECT_NEAR(StudyPlots(study)[0].curves[0].points[0].x, -3, 1e-9);

  std::vector<std::string> many;
  for (int i = 0; i < 20; ++i) many.push_back(std::to_string(2e-4 * std::pow(1.5, i)));
  study = StudyOf("fine_tune.training.learning_rate", many);
  for (v1::Trial& trial : *study.mutable_trials()) trial.set_value(1);
  EXPECT_THAT(Ticks(StudyPlots(study)[0]), ElementsAre("0.0001", "0.001", "0.01", "0.1", "1"));
}

TEST(StudyPlotsTest, WhatIsNoNumberStandsInItsOrder) {
  v1::Study study =
      StudyOf("fine_tune.training.schedule", {"\"linear\"", "\"cosine\"", "\"linear\""});
  for (v1::Trial& trial : *study.mutable_trials()) trial.set_value(1);
  const Plot plot = StudyPlots(study)[0];
  EXPECT_THAT(Ticks(plot), ElementsAre("\"linear\"", "\"cosine\""));
  EXPECT_EQ(plot.curves[0].points[0].x, 0);
  EXPECT_EQ(plot.curves[0].points[1].x, 0);
  EXPECT_EQ(plot.curves[0].points[2].x, 1);
  // Its ticks are on the axis, with room at both sides.
  const PlotScales scales = ScalesOf(plot, 5, 5);
  EXPECT_LT(scales.x.low, 0);
  EXPECT_GT(scales.x.high, 1);
  EXPECT_EQ(scales.x.ticks.size(), 2u);
}

}  // namespace
}  // namespace graft
