#include "client/cli/compare.h"

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

v1::CompareJobsResponse Comparison() {
  v1::CompareJobsResponse comparison;
  v1::ComparedJob& untuned = *comparison.add_jobs();
  untuned.set_job("jobs/1");
  untuned.set_label("untuned");
  (*untuned.mutable_metrics())["eval/rougeLsum"] = 0.25;
  (*untuned.mutable_metrics())["lead3/rouge1"] = 0.4;
  (*untuned.mutable_metrics())["oracle/rouge1"] = 0.7;
  v1::ComparedJob& lora = *comparison.add_jobs();
  lora.set_job("jobs/2");
  lora.set_label("lora, \"mine\" | r=8");
  (*lora.mutable_metrics())["eval/rougeLsum"] = 0.5;
  (*lora.mutable_metrics())["eval/rougeLsum_low"] = 0.4375;
  (*lora.mutable_metrics())["eval/rougeLsum_high"] = 0.5625;
  lora.set_training_job("jobs/0");
  lora.set_method("lora");
  lora.set_trainable_parameters(24576);
  lora.set_train_seconds(30);
  lora.set_adapter("a");
  lora.set_adapter_size_bytes(102'400);
  lora.set_adapter_directory("/d/a");
  v1::PairedDifference& difference = *comparison.add_differences();
  difference.set_job("jobs/2");
  difference.set_to_job("jobs/1");
  difference.set_label("lora - untuned");
  difference.set_metric("rougeLsum");
  difference.set_mean(0.25);
  difference.set_low(0.125);
  difference.set_high(0.375);
  difference.set_rows(120);
  difference.set_rows_needed(1234);
  return comparison;
}

TEST(CompareTest, EachOfSeveralAdaptersHasItsOwnDifferenceAndSeeds) {
  v1::CompareJobsResponse comparison;
  for (const char* name : {"a", "b"}) {
    v1::ComparedJob& job = *comparison.add_jobs();
    job.set_job("jobs/1");
    job.set_label(name);
    job.set_adapter(name);
    job.set_one_of_several(true);
  }
  v1::PairedDifference& difference = *comparison.add_differences();
  difference.set_job("jobs/1");
  difference.set_adapter("b");
  difference.set_to_job("jobs/1");
  difference.set_to_adapter("a");
  difference.set_mean(0.5);
  v1::SeedGroup& group = *comparison.add_seed_groups();
  group.set_label("b");
  group.add_jobs("jobs/1");
  const std::vector<std::string> lines =
      absl::StrSplit(ComparisonJson(comparison), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2u);
  const auto first = nlohmann::json::parse(lines[0]), second = nlohmann::json::parse(lines[1]);
  EXPECT_EQ(first["adapter"], "a");
  EXPECT_FALSE(first.contains("difference"));
  EXPECT_FALSE(first.contains("seeds"));
  EXPECT_EQ(second["difference"]["to_adapter"], "a");
  EXPECT_TRUE(second.contains("seeds"));
  const std::vector<std::string> csv = absl::StrSplit(ComparisonCsv(comparison), "\r\n");
  EXPECT_THAT(csv[0], ::testing::EndsWith(",difference_to_adapter"));
  EXPECT_THAT(csv[1], ::testing::EndsWith(",,,"));
  EXPECT_THAT(csv[2], ::testing::EndsWith(",a"));
}

TEST(CompareTest, TheTableHasTrainingFiguresAndBaselines) {
  EXPECT_EQ(
      ComparisonTable(Comparison()).ToString(),
      "METHOD              TRAINED  LOSS  ROUGE-1  ROUGE-2  ROUGE-L  ROUGE-LSUM         95 %  "
      "TRAINING  ADAPTER\n"
      "untuned                   -     -        -        -        -       0.250            -  "
      "       -        -\n"
      "lora, \"mine\" | r=8   24,576     -        -        -        -       0.500  0.438-0.562 "
      "    30.0s   102 kB\n"
      "lead-3                    -     -    0.400        -        -           -            -  "
      "       -        -\n"
      "oracle                    -     -    0.700        -        -           -            -  "
      "       -        -\n");
}

TEST(CompareTest, DifferencesSayHowManyRowsTheyTake) {
  v1::CompareJobsResponse comparison = Comparison();
  v1::PairedDifference& difference = *comparison.mutable_differences(0);
  EXPECT_EQ(DifferencesText(comparison),
            "lora - untuned: rougeLsum +0.250, 95 % interval +0.125 to +0.375 (120 rows; 1,234 "
            "would do)\n");
  difference.set_low(-0.125);
  difference.set_note("decoding is \"greedy\", not \"\"");
  EXPECT_THAT(
      DifferencesText(comparison),
      HasSubstr("(120 rows; it takes about 1,234 to tell; decoding is \"greedy\", not \"\")"));
  difference.set_rows_needed(0);
  EXPECT_THAT(DifferencesText(comparison), HasSubstr("(120 rows; decoding"));
  difference.set_not_comparable("they scored different references");
  EXPECT_EQ(DifferencesText(comparison),
            "lora - untuned: not comparable, they scored different references\n");
}

TEST(CompareTest, WhatWasValidatedOtherwiseIsSaid) {
  v1::CompareJobsResponse comparison;
  EXPECT_THAT(DifferencesText(comparison), IsEmpty());
  v1::ValidationDifference& difference = *comparison.add_validations();
  difference.set_label("b - a");
  difference.set_scoring("use_stemmer is false, not true");
  EXPECT_EQ(DifferencesText(comparison),
            "b - a: validated otherwise: for ROUGE, use_stemmer is false, not true\n");
  difference.set_limits("max_target_tokens is 64, not 128");
  EXPECT_THAT(DifferencesText(comparison), HasSubstr("is 64, not 128; for ROUGE, use_stemmer"));
  difference.set_not_comparable("validation is none, not \"valid\"");
  EXPECT_EQ(DifferencesText(comparison),
            "b - a: not comparable, validated on other rows: validation is none, not \"valid\"\n");
}

TEST(CompareTest, SeedsHaveATableOfTheirOwn) {
  v1::CompareJobsResponse comparison = Comparison();
  v1::SeedGroup& group = *comparison.add_seed_groups();
  group.set_label("lora r=8");
  group.add_jobs("jobs/2");
  group.add_jobs("jobs/3");
  group.add_seeds(1);
  group.add_seeds(2);
  v1::SeedGroup::Statistic& statistic = *group.add_metrics();
  statistic.set_metric("eval/loss");
  statistic.set_mean(3.25);
  statistic.set_standard_deviation(0.125);
  statistic.set_low(3.125);
  statistic.set_high(3.375);
  EXPECT_EQ(SeedTable(comparison).ToString(),
            "OVER SEEDS  SEEDS  METRIC    MEAN  DEVIATION           95 %\n"
            "lora r=8    1, 2   loss    3.2500     0.1250  3.1250-3.3750\n");
  const std::vector<std::string> lines = absl::StrSplit(ComparisonJson(comparison), '\n');
  const nlohmann::json row = nlohmann::json::parse(lines[1]);
  EXPECT_EQ(row["seeds"]["seeds"], nlohmann::json({1, 2}));
  EXPECT_EQ(row["seeds"]["metrics"]["eval/loss"]["low"], 3.125);
  EXPECT_EQ(row["difference"]["rows_needed"], 1234);
  EXPECT_FALSE(nlohmann::json::parse(lines[0]).contains("seeds"));
}

TEST(CompareTest, MarkdownAndCsvKeepEveryCellInItsPlace) {
  const std::string markdown = ComparisonTable(Comparison()).ToMarkdown();
  EXPECT_THAT(markdown, StartsWith("| METHOD | TRAINED | LOSS |"));
  EXPECT_THAT(markdown, HasSubstr("|\n| --- | ---: | ---: |"));
  EXPECT_THAT(markdown, HasSubstr("| lora, \"mine\" \\| r=8 | 24,576 |"));
  const std::vector<std::string> lines = absl::StrSplit(ComparisonCsv(Comparison()), "\r\n");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_THAT(lines[0], StartsWith("job,label,training_job,method,"));
  EXPECT_EQ(lines[1], "jobs/1,untuned,,,,,,,,,,,,0.25,,,,,,,,,,,");
  EXPECT_EQ(lines[2],
            "jobs/2,\"lora, \"\"mine\"\" | r=8\",jobs/0,lora,24576,30.0,a,102400,,,,,,0.5,0.4375,"
            "0.5625,jobs/1,rougeLsum,0.25,0.125,0.375,120,1234,,");
}

}  // namespace
}  // namespace graft
