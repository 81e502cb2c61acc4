#include "worker/engine/evaluation/rouge_table.h"

#include <gmock/gmock.h>

#include "common/text/bootstrap.h"
#include "worker/engine/evaluation/fingerprint.h"

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

std::string HashOf(const std::vector<std::vector<std::string>>& rows) {
  SamplesHash hash;
  for (const auto& row : rows) hash.Add(row);
  return hash.Hex();
}

TEST(SamplesHashTest, TellsReferencesAndRowsApart) {
  EXPECT_EQ(HashOf({{"a"}, {"b"}}), HashOf({{"a"}, {"b"}}));
  EXPECT_NE(HashOf({{"a"}, {"b"}}), HashOf({{"b"}, {"a"}}));
  EXPECT_NE(HashOf({{"a", "b"}}), HashOf({{"a"}, {"b"}}));
  EXPECT_NE(HashOf({{"ab"}}), HashOf({{"a", "b"}}));
  // printf 'a\0b\0\1' | sha256sum
  EXPECT_EQ(HashOf({{"a", "b"}}), Sha256Hex(absl::string_view("a\0b\0\1", 5)));
}

TEST(DecodingNameTest, NamesEverySettingOfSampling) {
  EXPECT_EQ(DecodingName({}), "greedy");
  EXPECT_EQ(DecodingName({true, 0.7, 50, 0.95, 7}),
            "sample temperature=0.7 top_k=50 top_p=0.95 seed=7");
}

}  // namespace
}  // namespace graft
