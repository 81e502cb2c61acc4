#include "common/base/mean_interval.h"

#include "gtest/gtest.h"

namespace graft {
namespace {

TEST(StudentT975Test, IsTheQuantileOfTheTables) {
  EXPECT_DOUBLE_EQ(StudentT975(1), 12.706205);
  EXPECT_DOUBLE_EQ(StudentT975(30), 2.042272);
  EXPECT_NEAR(StudentT975(31), 2.039513, 1e-5);
  EXPECT_NEAR(StudentT975(60), 2.000298, 1e-5);
  EXPECT_NEAR(StudentT975(99), 1.984217, 1e-5);
}

// scipy.stats.t.interval(0.95, 4, loc=3, scale=scipy.stats.sem([1, 2, 3, 4, 5])).
TEST(MeanIntervalTest, AMeanHasItsInterval) {
  const MeanInterval interval = IntervalOf({1, 2, 3, 4, 5});
  EXPECT_DOUBLE_EQ(interval.mean, 3);
  EXPECT_NEAR(interval.deviation, 1.58113883, 1e-8);
  EXPECT_NEAR(interval.low, 1.03675684, 1e-5);
  EXPECT_NEAR(interval.high, 4.96324316, 1e-5);
}

TEST(MeanIntervalTest, OneValueHasNone) {
  EXPECT_EQ(IntervalOf({7}).mean, 7);
  EXPECT_EQ(IntervalOf({7}).high, 0);
  EXPECT_EQ(IntervalOf({}).mean, 0);
}

}  // namespace
}  // namespace graft
