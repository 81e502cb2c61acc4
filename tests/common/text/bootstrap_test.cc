#include "common/text/bootstrap.h"

#include <gmock/gmock.h>

#include <limits>

#include "tests/common/text/test_files.h"

namespace graft {
namespace {

using testing::HasSubstr;

TEST(BootstrapTest, BitsEqualThoseOfTheDocumentedPython) {
  const nlohmann::json rows = ReadJson(GoldenPath("rouge/intervals.json"));
  ASSERT_EQ(rows.size(), 4u);
  for (const nlohmann::json& row : rows) {
    const auto values = row["values"].get<std::vector<double>>();
    const auto interval = BootstrapMean(values, row["seed"].get<uint64_t>());
    ASSERT_TRUE(interval.ok());
    EXPECT_EQ((std::vector<double>{interval->mean, interval->low, interval->high}),
              row["interval"].get<std::vector<double>>());
  }
}

TEST(BootstrapTest, DifferenceIsTakenRowByRow) {
  const std::vector<double> a = {0.5, 0.7, 0.1, 0.9};
  std::vector<double> b = a;
  for (double& value : b) value -= 0.25;
  const auto interval = BootstrapMeanDifference(a, b, 1);
  ASSERT_TRUE(interval.ok());
  EXPECT_NEAR(interval->low, 0.25, 1e-12);
  EXPECT_NEAR(interval->high, 0.25, 1e-12);
}

TEST(BootstrapTest, CoversTheMeanAndNarrowsWithMoreRows) {
  std::vector<double> values;
  for (int i = 0; i < 1000; ++i) values.push_back(i % 10);
  const auto few = BootstrapMean(absl::MakeConstSpan(values).subspan(0, 50), 7);
  const auto many = BootstrapMean(values, 7);
  EXPECT_LT(many->low, 4.5);
  EXPECT_GT(many->high, 4.5);
  // The standard error is 2.87/√1000; the interval is about 3.92 of them wide.
  EXPECT_NEAR(many->high - many->low, 3.92 * 2.87 / 31.6, 0.04);
  EXPECT_GT(few->high - few->low, 3 * (many->high - many->low));
}

TEST(BootstrapTest, RefusesWhatHasNoMean) {
  EXPECT_EQ(BootstrapMean({}, 1).status().code(), absl::StatusCode::kInvalidArgument);
  const auto not_finite = BootstrapMean({1, std::numeric_limits<double>::quiet_NaN()}, 1);
  EXPECT_THAT(std::string(not_finite.status().message()), HasSubstr("value 1"));
  EXPECT_THAT(std::string(BootstrapMeanDifference({1}, {1, 2}, 1).status().message()),
              HasSubstr("1 and 2 rows"));
}

}  // namespace
}  // namespace graft
