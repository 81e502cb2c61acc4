#include "client/cli/plot.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Texts(const PlotScale& scale) {
  std::vector<std::string> texts;
  for (const PlotTick& tick : scale.ticks) texts.push_back(tick.text);
  return texts;
}

TEST(PlotScaleTest, TicksAreRoundNumbers) {
  EXPECT_THAT(Texts(MakeScale(0, 100, 6)), ElementsAre("0", "20", "40", "60", "80", "100"));
  EXPECT_THAT(Texts(MakeScale(1.93, 4.21, 5)), ElementsAre("2", "3", "4"));
  EXPECT_THAT(Texts(MakeScale(0.012, 0.031, 5)), ElementsAre("0.015", "0.020", "0.025", "0.030"));
  EXPECT_THAT(Texts(MakeScale(-1, 1, 3)), ElementsAre("-1", "0", "1"));
  EXPECT_THAT(Texts(MakeScale(0, 2e-5, 3)), ElementsAre("0", "1e-05", "2e-05"));
  EXPECT_THAT(Texts(MakeScale(0, 2e8, 3)), ElementsAre("0", "1e+08", "2e+08"));
}

TEST(PlotScaleTest, ALevelLineLiesInTheMiddle) {
  EXPECT_DOUBLE_EQ(MakeScale(5, 5, 5).PlaceOf(5), 0.5);
  EXPECT_DOUBLE_EQ(MakeScale(0, 0, 5).PlaceOf(0), 0.5);
}

TEST(PlotScaleTest, ScalesHoldAllThatIsFinite) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const Plot plot = {"loss", {{"a", {{1, 4, 3, 5}, {2, kNan, kNan, kNan}}}, {"b", {{9, 2, 2, 2}}}}};
  const PlotScales scales = ScalesOf(plot, 5, 5);
  EXPECT_EQ(scales.x.low, 1);
  EXPECT_EQ(scales.x.high, 9);
  EXPECT_EQ(scales.y.low, 2);
  EXPECT_EQ(scales.y.high, 5);
  const PlotScales empty = ScalesOf({"loss", {{"a", {{1, kNan, kNan, kNan}}}}}, 5, 5);
  EXPECT_EQ(empty.y.high, 1);
}

}  // namespace
}  // namespace graft
