#include "server/analysis/seed_groups.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Contestant Training(const std::string& name, uint64_t seed, double loss) {
  Contestant contestant;
  contestant.label = name;
  contestant.job.set_name("jobs/" + name);
  v1::FineTuneSpec& spec = *contestant.job.mutable_resolved_spec()->mutable_fine_tune();
  spec.mutable_method()->mutable_lora()->set_rank(8);
  spec.mutable_training()->set_seed(seed);
  spec.set_output_name(name);
  (*contestant.job.mutable_result()->mutable_metrics())["eval/loss"] = loss;
  contestant.training = contestant.job;
  return contestant;
}

Contestant Evaluation(const Contestant& training, double score) {
  Contestant contestant;
  contestant.training = training.job;
  contestant.label = training.label;
  contestant.job.set_name(training.job.name() + "-evaluated");
  v1::EvaluateSpec& spec = *contestant.job.mutable_resolved_spec()->mutable_evaluate();
  spec.set_adapter(training.label);
  spec.mutable_data()->set_validation("test");
  (*contestant.job.mutable_result()->mutable_metrics())["eval/rouge1"] = score;
  return contestant;
}

TEST(SeedGroupsTest, MeanDeviationAndInterval) {
  const v1::SeedGroup::Statistic statistic = StatisticOf({1, 2, 3});
  EXPECT_DOUBLE_EQ(statistic.mean(), 2);
  EXPECT_DOUBLE_EQ(statistic.standard_deviation(), 1);
  EXPECT_NEAR(statistic.low(), 2 - 4.302653 / std::sqrt(3), 1e-12);
  EXPECT_NEAR(statistic.high(), 2 + 4.302653 / std::sqrt(3), 1e-12);
}

TEST(SeedGroupsTest, JobsThatDifferInTheirSeedAloneAreOneGroup) {
  Contestant other = Training("other", 4, 9);
  other.training->mutable_resolved_spec()
      ->mutable_fine_tune()
      ->mutable_method()
      ->mutable_lora()
      ->set_rank(4);
  const auto groups = SeedGroups({Training("a", 1, 2), other, Training("b", 2, 4),
                                  Training("a again", 1, 2), Training("c", 3, 3)});
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].label(), "a");
  EXPECT_THAT(groups[0].jobs(), ElementsAre("jobs/a", "jobs/b", "jobs/c"));
  EXPECT_THAT(groups[0].seeds(), ElementsAre(1, 2, 3));
  ASSERT_EQ(groups[0].metrics_size(), 1);
  EXPECT_EQ(groups[0].metrics(0).metric(), "eval/loss");
  EXPECT_DOUBLE_EQ(groups[0].metrics(0).mean(), 3);
}

TEST(SeedGroupsTest, EvaluationsGoByTheirTrainings) {
  const Contestant one = Training("a", 1, 2), two = Training("b", 2, 4);
  Contestant elsewhere = Evaluation(two, 0.9);
  elsewhere.job.mutable_resolved_spec()->mutable_evaluate()->mutable_data()->set_validation(
      "other");
  Contestant untuned = Evaluation(one, 0.1);
  untuned.training.reset();
  const auto groups =
      SeedGroups({Evaluation(one, 0.2), untuned, Evaluation(two, 0.4), one, elsewhere});
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_THAT(groups[0].jobs(), ElementsAre("jobs/a-evaluated", "jobs/b-evaluated"));
  EXPECT_NEAR(groups[0].metrics(0).mean(), 0.3, 1e-12);
}

TEST(SeedGroupsTest, AMetricThatOneHasNotIsLeftOut) {
  const Contestant diverged = Training("b", 2, std::numeric_limits<double>::quiet_NaN());
  const auto groups = SeedGroups({Training("a", 1, 2), diverged});
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_THAT(groups[0].metrics(), IsEmpty());
  EXPECT_THAT(SeedGroups({}), IsEmpty());
}

}  // namespace
}  // namespace graft
