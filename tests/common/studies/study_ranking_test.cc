#include "common/studies/study_ranking.h"

#include "common/studies/study_spec.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

void AddTrial(v1::Study& study, int point, std::optional<double> end,
              std::vector<std::pair<int64_t, double>> rungs = {}) {
  v1::Trial& trial = *study.add_trials();
  trial.set_number(study.trials_size());
  trial.set_point(point);
  for (const auto& [step, value] : rungs) {
    trial.add_values()->set_step(step);
    trial.mutable_values(trial.values_size() - 1)->set_value(value);
  }
  if (end) trial.set_value(*end);
}

v1::Study Minimizing() {
  v1::Study study;
  study.mutable_objective()->set_goal(v1::Objective::GOAL_MINIMIZE);
  return study;
}

std::vector<int> PointsIn(const std::vector<v1::RankedPoint>& ranking) {
  std::vector<int> points;
  for (const v1::RankedPoint& ranked : ranking) points.push_back(ranked.point());
  return points;
}

TEST(StudyRankingTest, ThoseThatCameFurtherRankFirst) {
  v1::Study study = Minimizing();
  AddTrial(study, 1, std::nullopt, {{10, 0.1}});
  AddTrial(study, 2, 0.9, {{10, 0.8}, {20, 0.7}});
  AddTrial(study, 3, std::nullopt, {{10, 0.2}, {20, 0.3}});
  AddTrial(study, 4, 0.5, {{10, 0.9}, {20, 0.8}});
  AddTrial(study, 5, std::nullopt);
  EXPECT_THAT(PointsIn(Rank(study)), ElementsAre(4, 2, 3, 1));
  ASSERT_NE(BestTrial(study), nullptr);
  EXPECT_EQ(BestTrial(study)->number(), 4);
  study.mutable_objective()->set_goal(v1::Objective::GOAL_MAXIMIZE);
  EXPECT_THAT(PointsIn(Rank(study)), ElementsAre(2, 4, 3, 1));
}

TEST(StudyRankingTest, RepeatsSayWhatCannotBeToldApart) {
  v1::Study study = Minimizing();
  for (const double value : {1.0, 1.2, 0.9}) AddTrial(study, 1, value);
  for (const double value : {1.05, 1.15, 1.0}) AddTrial(study, 2, value);
  for (const double value : {2.0, 2.2, 1.9}) AddTrial(study, 3, value);
  const auto ranking = Rank(study);
  ASSERT_THAT(PointsIn(ranking), ElementsAre(1, 2, 3));
  EXPECT_EQ(ranking[0].values(), 3);
  EXPECT_LT(ranking[0].low(), ranking[0].mean());
  EXPECT_TRUE(ranking[1].indistinguishable());
  EXPECT_FALSE(ranking[2].indistinguishable());
  EXPECT_NEAR(ranking[2].difference_low(), -1, 1e-6) << "by pairs, which differ by 1 each";
  EXPECT_EQ(BestTrial(study)->number(), 3);
}

TEST(StudyRankingTest, ThoseThatWereStoppedAreComparedWhereBothWere) {
  v1::Study study = Minimizing();
  for (const double value : {1.0, 1.2}) AddTrial(study, 1, value / 2, {{10, value}});
  for (const double value : {1.6, 1.8}) AddTrial(study, 2, std::nullopt, {{10, value}});
  const auto ranking = Rank(study);
  ASSERT_THAT(PointsIn(ranking), ElementsAre(1, 2));
  EXPECT_EQ(ranking[0].step(), 0);
  EXPECT_EQ(ranking[1].step(), 10);
  EXPECT_NEAR(ranking[1].difference_low(), -0.6, 1e-6);
}

TEST(StudyRankingTest, WithoutNumbersNobodyRanks) {
  v1::Study study = Minimizing();
  AddTrial(study, 1, std::nullopt);
  EXPECT_THAT(Rank(study), IsEmpty());
  EXPECT_EQ(BestTrial(study), nullptr);
}

}  // namespace
}  // namespace graft
