#include "worker/engine/training/early_stopping.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace graft {
namespace {

struct Outcome {
  std::vector<bool> best;
  int stopped_at = -1;  // Index of the evaluation that stopped the run.
};

Outcome Feed(const TrainingConfig::EarlyStopping& config, const std::vector<double>& values) {
  Outcome outcome;
  EarlyStoppingState state;
  for (size_t i = 0; i < values.size() && outcome.stopped_at < 0; ++i) {
    EvaluationEvent event;
    event.values[config.metric] = values[i];
    const absl::StatusOr<bool> best = UpdateEarlyStopping(config, event, state);
    EXPECT_TRUE(best.ok()) << best.status();
    outcome.best.push_back(*best);
    if (state.stop) outcome.stopped_at = static_cast<int>(i);
  }
  return outcome;
}

TEST(EarlyStoppingTest, StopsAfterPatienceEvaluationsWithoutImprovement) {
  const Outcome outcome = Feed({"eval/loss", 2, 0}, {3, 2, 2.5, 2.1, 1});
  EXPECT_EQ(outcome.stopped_at, 3);
  EXPECT_EQ(outcome.best, (std::vector<bool>{true, true, false, false}));
}

TEST(EarlyStoppingTest, RougeIsBetterWhenGreater) {
  const Outcome outcome = Feed({"eval/rougeLsum", 1, 0}, {0.2, 0.3, 0.25});
  EXPECT_EQ(outcome.best, (std::vector<bool>{true, true, false}));
  EXPECT_EQ(outcome.stopped_at, 2);
}

// transformers' callback compares with a best value that moves on any improvement, so it stops
// here.
TEST(EarlyStoppingTest, SlowSteadyProgressGoesOn) {
  const TrainingConfig::EarlyStopping config{"eval/loss", 3, 0.1};
  EXPECT_EQ(Feed(config, {1.0, .95, .9, .85, .8, .75}).stopped_at, -1);
  EXPECT_EQ(Feed(config, {1.0, .95, .93, .92, .91}).stopped_at, 3);
}

TEST(EarlyStoppingTest, SmallImprovementsStillMoveTheBest) {
  EXPECT_EQ(Feed({"eval/loss", 5, 0.5}, {1.0, .9, .95}).best,
            (std::vector<bool>{true, true, false}));
}

TEST(EarlyStoppingTest, PatienceZeroNeverStops) {
  EXPECT_EQ(Feed({"eval/loss", 0, 0}, {1, 2, 3, 4, 5}).stopped_at, -1);
}

TEST(EarlyStoppingTest, NotANumberIsNoImprovement) {
  const Outcome outcome = Feed({"eval/loss", 2, 0}, {1, std::nan(""), std::nan("")});
  EXPECT_EQ(outcome.best, (std::vector<bool>{true, false, false}));
  EXPECT_EQ(outcome.stopped_at, 2);
}

TEST(EarlyStoppingTest, NotANumberIsNeverTheBestNotEvenTheFirst) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(Feed({"eval/loss", 0, 0}, {nan, infinity, 3, nan, 2, 2.5}).best,
            (std::vector<bool>{false, false, true, false, true, false}));
  EXPECT_EQ(Feed({"eval/rougeL", 0, 0}, {nan, -1, -2}).best,
            (std::vector<bool>{false, true, false}));
  EXPECT_EQ(Feed({"eval/loss", 2, 0}, {nan, nan, nan, 1}).stopped_at, 2);
}

TEST(EarlyStoppingTest, AScoreBesideALossThatIsNotFiniteDoesNotCount) {
  EvaluationEvent event;
  event.values = {{"eval/loss", std::nan("")}, {"eval/rougeL", 0.5}};
  EarlyStoppingState state;
  EXPECT_FALSE(*UpdateEarlyStopping({"eval/rougeL", 2, 0}, event, state));
  event.values["eval/loss"] = 3;
  event.values["eval/rougeL"] = 0.1;
  EXPECT_TRUE(*UpdateEarlyStopping({"eval/rougeL", 2, 0}, event, state));
}

TEST(EarlyStoppingTest, UnknownMetricIsRefusedWithWhatThereIs) {
  EvaluationEvent event;
  event.values["eval/loss"] = 1;
  EarlyStoppingState state;
  const absl::Status status = UpdateEarlyStopping({"eval/bleu", 2, 0}, event, state).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), ::testing::HasSubstr("eval/bleu"));
  EXPECT_THAT(status.message(), ::testing::HasSubstr("eval/loss"));
}

}  // namespace
}  // namespace graft
