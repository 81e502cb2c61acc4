#include "common/studies/study_decisions.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "common/studies/study_spec.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

v1::Study Halving(int64_t min_steps, int64_t max_steps, int factor, int brackets = 1) {
  v1::Study study;
  v1::FineTuneSpec& spec = *study.mutable_spec_template()->mutable_fine_tune();
  spec.mutable_training()->set_max_steps(max_steps);
  spec.mutable_data()->set_validation("v");
  study.mutable_successive_halving()->set_min_steps(min_steps);
  study.mutable_successive_halving()->set_reduction_factor(factor);
  study.mutable_successive_halving()->set_brackets(brackets);
  ResolveStudy(study);
  return study;
}

v1::Study Median(int64_t interval, int64_t max_steps, int min_points) {
  v1::Study study = Halving(interval, max_steps, 2);
  study.mutable_median_stopping()->set_interval_steps(interval);
  study.mutable_median_stopping()->set_min_points(min_points);
  ResolveStudy(study);
  return study;
}

// Each point has its value at each rung; a small one is good. NaN: it failed there.
using Losses = std::vector<double>;

StudyResults Nothing(const v1::Study& study, size_t points) {
  return StudyResults(points, std::vector<PointResult>(study.rung_steps_size()));
}

void Reveal(double loss, PointResult& result) {
  result.there = true;
  if (loss == loss) result.value = loss;
}

// Plays a study to its end: whoever is told to come to a rung comes there, in an order that
// `random` makes. Returns the last course, and checks that what was decided once stays.
StudyCourse Play(const v1::Study& study, const Losses& losses, std::mt19937& random,
                 std::map<std::pair<int, int>, std::vector<StudyDecision>>* log = nullptr) {
  StudyResults results = Nothing(study, losses.size());
  std::map<std::pair<int, int>, size_t> decided;
  while (true) {
    const StudyCourse course = Decide(study, results);
    std::map<std::pair<int, int>, std::vector<StudyDecision>> all;
    for (const StudyDecision& made : course.decisions)
      all[{made.bracket, made.rung}].push_back(made);
    for (auto& [rung, count] : decided) EXPECT_GE(all[rung].size(), count) << "a decision is gone";
    for (auto& [rung, made] : all) decided[rung] = made.size();
    std::vector<std::pair<int, int>> next;  // Point and rung that it may come to now.
    for (size_t point = 0; point < losses.size(); ++point) {
      const PointCourse& told = course.points[point];
      if (!told.begins) continue;
      for (int rung = 0; rung <= std::min(told.rung, study.rung_steps_size() - 1); ++rung) {
        if (results[point][rung].there) continue;
        next.emplace_back(point, rung);
        break;
      }
    }
    if (next.empty()) {
      if (log != nullptr) *log = std::move(all);
      return course;
    }
    const auto [point, rung] = next[random() % next.size()];
    Reveal(losses[point], results[point][rung]);
  }
}

std::vector<int> ReachedEnd(const v1::Study& study, const StudyCourse& course) {
  std::vector<int> points;
  for (size_t point = 0; point < course.points.size(); ++point) {
    const PointCourse& told = course.points[point];
    if (!told.stopped && told.rung == study.rung_steps_size()) {
      points.push_back(static_cast<int>(point));
    }
  }
  return points;
}

TEST(StudyDecisionsTest, WithoutStoppingEveryPointGoesToItsEnd) {
  v1::Study study;
  study.mutable_spec_template()->mutable_fine_tune()->mutable_training()->set_max_steps(50);
  ResolveStudy(study);
  const StudyCourse course = Decide(study, Nothing(study, 3));
  EXPECT_THAT(course.decisions, IsEmpty());
  EXPECT_THAT(ReachedEnd(study, course), ElementsAre(0, 1, 2));
  EXPECT_EQ(course.planned_steps, 150);
}

TEST(StudyDecisionsTest, ADecisionWaitsForThoseBeforeIt) {
  const v1::Study study = Halving(10, 40, 2);
  ASSERT_THAT(study.rung_steps(), ElementsAre(10, 20));
  StudyResults results = Nothing(study, 4);
  // Three are there, and the second is missing.
  Reveal(1.0, results[0][0]);
  Reveal(0.1, results[2][0]);
  Reveal(0.2, results[3][0]);
  EXPECT_THAT(Decide(study, results).decisions, IsEmpty());
  Reveal(2.0, results[1][0]);
  const StudyCourse course = Decide(study, results);
  // Of the first two the first; of all four the third and fourth; then the rung ends.
  ASSERT_THAT(course.decisions, SizeIs(4));
  EXPECT_EQ(course.decisions[0].number, 2);
  EXPECT_THAT(course.decisions[0].looked_at, ElementsAre(0, 1));
  EXPECT_THAT(course.decisions[0].promoted, ElementsAre(0));
  EXPECT_EQ(course.decisions[1].number, 3);
  EXPECT_THAT(course.decisions[1].promoted, ElementsAre(2));
  EXPECT_EQ(course.decisions[2].number, 4);
  EXPECT_THAT(course.decisions[2].promoted, ElementsAre(3));
  EXPECT_EQ(course.decisions[3].number, 5);
  EXPECT_THAT(course.decisions[3].stopped, ElementsAre(1));
}

TEST(StudyDecisionsTest, TheLastDecisionOfARungEndsTheRest) {
  const v1::Study study = Halving(10, 40, 2);
  StudyResults results = Nothing(study, 3);
  Reveal(3, results[0][0]);
  Reveal(1, results[1][0]);
  Reveal(2, results[2][0]);
  const StudyCourse course = Decide(study, results);
  EXPECT_EQ(course.points[1].rung, 1);
  EXPECT_FALSE(course.points[1].stopped);
  EXPECT_TRUE(course.points[0].stopped);
  EXPECT_TRUE(course.points[2].stopped);
  EXPECT_THAT(course.decisions.back().stopped, ElementsAre(0, 2));
  EXPECT_EQ(course.points[0].reason, "not among the best 1 of 3");
}

TEST(StudyDecisionsTest, WhicheverOrderResultsComeInTheSameIsDecided) {
  std::mt19937 random(1234);
  for (int round = 0; round < 60; ++round) {
    const size_t points = 2 + random() % 20;
    const v1::Study study = round % 3 == 2 ? Median(5, 30, 1 + static_cast<int>(random() % 4))
                                           : Halving(5, 5 + static_cast<int64_t>(random() % 100),
                                                     2 + static_cast<int>(random() % 3),
                                                     1 + static_cast<int>(random() % 2));
    Losses losses;
    for (size_t i = 0; i < points; ++i) {
      losses.push_back(random() % 8 == 0 ? std::numeric_limits<double>::quiet_NaN()
                                         : static_cast<double>(random() % 10));
    }
    std::map<std::pair<int, int>, std::vector<StudyDecision>> first;
    const StudyCourse course = Play(study, losses, random, &first);
    for (int again = 0; again < 5; ++again) {
      std::map<std::pair<int, int>, std::vector<StudyDecision>> log;
      const StudyCourse other = Play(study, losses, random, &log);
      EXPECT_EQ(other.planned_steps, course.planned_steps);
      ASSERT_EQ(log.size(), first.size());
      for (const auto& [rung, made] : first) {
        ASSERT_EQ(log[rung].size(), made.size());
        for (size_t i = 0; i < made.size(); ++i) {
          EXPECT_EQ(log[rung][i].number, made[i].number);
          EXPECT_EQ(log[rung][i].promoted, made[i].promoted);
          EXPECT_EQ(log[rung][i].stopped, made[i].stopped);
        }
      }
    }
  }
}

TEST(StudyDecisionsTest, TheBestOfAllComesToItsEnd) {
  std::mt19937 random(99);
  for (int round = 0; round < 40; ++round) {
    const v1::Study study = Halving(5, 200, 2 + static_cast<int>(random() % 3));
    Losses losses;
    for (size_t i = 0; i < 1 + random() % 30; ++i) losses.push_back(static_cast<double>(random()));
    const StudyCourse course = Play(study, losses, random);
    const int best =
        static_cast<int>(std::min_element(losses.begin(), losses.end()) - losses.begin());
    const std::vector<int> reached = ReachedEnd(study, course);
    EXPECT_TRUE(std::find(reached.begin(), reached.end(), best) != reached.end());
    for (const PointCourse& point : course.points) {
      EXPECT_TRUE(point.stopped || point.rung == study.rung_steps_size()) << "nobody is left over";
    }
  }
}

TEST(StudyDecisionsTest, AGreatObjectiveMayBeTheGoodOne) {
  v1::Study study = Halving(10, 40, 2);
  study.mutable_objective()->set_goal(v1::Objective::GOAL_MAXIMIZE);
  std::mt19937 random(1);
  EXPECT_THAT(ReachedEnd(study, Play(study, {1, 4, 2, 3}, random)), ElementsAre(1));
}

TEST(StudyDecisionsTest, APointWithoutANumberGoesNoFurther) {
  const v1::Study study = Halving(10, 40, 2);
  const double none = std::numeric_limits<double>::quiet_NaN();
  std::mt19937 random(1);
  EXPECT_THAT(ReachedEnd(study, Play(study, {none, 5, none, none}, random)), ElementsAre(1));
  const StudyCourse failed = Play(study, {none, none}, random);
  EXPECT_THAT(ReachedEnd(study, failed), IsEmpty());
  EXPECT_TRUE(failed.points[0].stopped && failed.points[1].stopped);
}

TEST(StudyDecisionsTest, BracketsBeginLater) {
  const v1::Study study = Halving(10, 80, 2, /*brackets=*/2);
  const StudyCourse course = Decide(study, Nothing(study, 4));
  EXPECT_EQ(course.points[0].rung, 0);
  EXPECT_EQ(course.points[1].rung, 1);
  EXPECT_EQ(course.planned_steps, 10 + 20 + 10 + 20);
  std::mt19937 random(5);
  const StudyCourse played = Play(study, {1, 4, 2, 3}, random);
  // Each bracket has its own best.
  EXPECT_THAT(ReachedEnd(study, played), ElementsAre(0, 3));
}

TEST(StudyDecisionsTest, StepsAreLimitedInAFixedOrder) {
  v1::Study study = Halving(10, 40, 2);
  study.set_repeats(2);
  study.mutable_limits()->set_max_steps(110);
  // Each begins with 20: five fit, and one goes on by 20 more only where there is room.
  StudyResults results = Nothing(study, 7);
  const StudyCourse begun = Decide(study, results);
  EXPECT_EQ(begun.planned_steps, 100);
  EXPECT_TRUE(begun.points[4].begins);
  EXPECT_FALSE(begun.points[5].begins);
  EXPECT_TRUE(begun.points[5].stopped);
  std::mt19937 random(5);
  const StudyCourse played = Play(study, {1, 2, 3, 4, 5, 6, 7}, random);
  EXPECT_LE(played.planned_steps, 110);
  for (const PointCourse& point : played.points) EXPECT_TRUE(point.stopped);
}

TEST(StudyDecisionsTest, WorseThanTheMedianIsStopped) {
  const v1::Study study = Median(10, 30, 3);
  ASSERT_THAT(study.rung_steps(), ElementsAre(10, 20));
  StudyResults results = Nothing(study, 5);
  Reveal(9, results[0][0]);
  Reveal(1, results[1][0]);
  Reveal(2, results[2][0]);
  Reveal(2.5, results[3][0]);  // The median of those before it is 2.
  Reveal(1.9, results[4][0]);
  const StudyCourse course = Decide(study, results);
  EXPECT_EQ(course.points[0].rung, 1) << "nobody is ended before min_points";
  EXPECT_TRUE(course.points[3].stopped);
  EXPECT_EQ(course.points[3].reason, "2.5 is worse than the median of those before it, 2");
  EXPECT_EQ(course.points[4].rung, 1);
}

}  // namespace
}  // namespace graft
