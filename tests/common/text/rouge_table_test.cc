#include "common/text/rouge_table.h"

#include <gmock/gmock.h>

#include "common/text/bootstrap.h"

namespace graft {
namespace {

RougeScores Scores(double f) {
  RougeScores scores;
  scores.rouge1 = {f / 2, f / 4, f};
  scores.rouge_lsum = {1, 1, 1 - f};
  return scores;
}

TEST(RougeTableTest, GivesMeansAndTheBootstrapIntervalOfF) {
  RougeTable table;
  const std::vector<double> f = {0.1, 0.5, 0.9, 0.2, 0.7};
  for (const double value : f) table.Add(Scores(value));
  std::map<std::string, double> values;
  table.Summarise("eval/", &values);
  EXPECT_EQ(values.size(), 4u * 5);
  EXPECT_NEAR(values["eval/rouge1"], 0.48, 1e-12);
  EXPECT_NEAR(values["eval/rouge1_precision"], 0.24, 1e-12);
  EXPECT_NEAR(values["eval/rouge1_recall"], 0.12, 1e-12);
  EXPECT_NEAR(values["eval/rougeLsum"], 0.52, 1e-12);
  const BootstrapInterval interval = *BootstrapMean(f, 42);
  EXPECT_EQ(values["eval/rouge1_low"], interval.low);
  EXPECT_EQ(values["eval/rouge1_high"], interval.high);
  EXPECT_LT(interval.low, 0.48);
  EXPECT_GT(interval.high, 0.48);
}

TEST(RougeTableTest, SaysNothingWithoutRows) {
  std::map<std::string, double> values;
  RougeTable().Summarise("eval/", &values);
  EXPECT_TRUE(values.empty());
}

}  // namespace
}  // namespace graft
