#include "server/planning/detectable_difference.h"

#include "gtest/gtest.h"

namespace graft {
namespace {

TEST(DetectableDifferenceTest, IsHalfAnIntervalOfTheUsualDeviation) {
  EXPECT_NEAR(DetectableDifference(100), 1.959964 * 0.105 / 10, 1e-7);
  EXPECT_EQ(RowsToDetect(0.01), 424);  // (1.959964 * 10.5)^2 = 423.5
  EXPECT_EQ(RowsToDetect(1), 1);
}

TEST(DetectableDifferenceTest, SoManyRowsDoAndOneLessDoesNot) {
  for (const double difference : {0.2, 0.05, 0.01, 0.003}) {
    const int64_t rows = RowsToDetect(difference);
    EXPECT_LE(DetectableDifference(rows), difference);
    EXPECT_GT(DetectableDifference(rows - 1), difference);
  }
  EXPECT_GT(RowsToDetect(1e-300), 0);
}

}  // namespace
}  // namespace graft
