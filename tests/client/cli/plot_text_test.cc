#include <algorithm>
#include <limits>

#include "absl/strings/str_split.h"
#include "client/cli/output.h"
#include "client/cli/plot.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

PlotCurve Falling(const std::string& label, double from) {
  PlotCurve curve = {label, {}};
  for (int i = 0; i <= 10; ++i) {
    const double y = from - i * 0.1;
    curve.points.push_back({static_cast<double>(10 * i), y, y, y});
  }
  return curve;
}

TEST(PlotTextTest, OneCurveIsDots) {
  EXPECT_EQ(PlotText({"loss", {Falling("train/loss", 2)}}, {.columns = 34, .rows = 4}),
            "loss\n"
            "2.0 ┤⠉⠒⠢⠤⣀⡀\n"
            "    │     ⠈⠉⠒⠢⠤⣀⡀\n"
            "1.5 ┤           ⠈⠉⠒⠢⢤⣀⡀\n"
            "1.0 ┤                 ⠈⠉⠒⠲⠤⣀\n"
            "    └┬─────────────────────┬\n"
            "     0                   100 steps\n"
            "  train/loss  1 at step 100\n");
}

TEST(PlotTextTest, SeveralAreLettersWhereThereIsNoColour) {
  const Plot plot = {"loss", {Falling("one", 2), Falling("two", 3)}};
  const std::string text = PlotText(plot, {.columns = 40, .rows = 6, .utf8 = false});
  for (const char c : text) EXPECT_LT(static_cast<unsigned char>(c), 0x80u);
  EXPECT_THAT(text, HasSubstr("a  one  1 at step 100\n"));
  EXPECT_THAT(text, HasSubstr("b  two  2 at step 100\n"));
  EXPECT_THAT(text, HasSubstr("aaa"));
  EXPECT_THAT(text, HasSubstr("bbb"));
  EXPECT_THAT(text, Not(HasSubstr("\033")));
  EXPECT_THAT(PlotText(plot, {.columns = 40, .rows = 6}), Not(HasSubstr("\033")));
  const std::string coloured = PlotText(plot, {.columns = 40, .rows = 6, .colour = true});
  EXPECT_THAT(coloured, HasSubstr("\033[34m"));
  EXPECT_THAT(coloured, HasSubstr("\033[31m━━\033[0m  two"));
}

TEST(PlotTextTest, NoLineIsWiderThanItsRoom) {
  Plot plot = {"loss", {Falling("a label that is much longer than there is room for it here", 2)}};
  plot.curves[0].points[3].y = std::numeric_limits<double>::quiet_NaN();
  for (const size_t columns : {30u, 80u, 200u}) {
    for (const std::string& line :
         std::vector<std::string>(absl::StrSplit(PlotText(plot, {.columns = columns}), '\n'))) {
      EXPECT_LE(DisplayWidth(line), columns) << line;
    }
  }
}

TEST(PlotTextTest, ASinglePointIsAPoint) {
  const std::string text = PlotText({"loss", {{"eval/loss", {{7, 2, 2, 2}}}}}, {.rows = 5});
  EXPECT_THAT(text, HasSubstr("eval/loss  2 at step 7"));
}

TEST(PlotTextTest, ScatteredPointsAreNotJoined) {
  Plot plot = {"loss by rank", {{"at the end: 2 trials", {{2, 1, 1, 1}, {8, 3, 3, 3}}}}};
  plot.scattered = true;
  plot.x_title = "rank";
  plot.x_ticks = {{2, "2"}, {8, "8"}};
  TextPlotOptions options;
  options.columns = 40;
  options.rows = 8;
  options.utf8 = false;
  const std::string text = PlotText(plot, options);
  EXPECT_EQ(std::count(text.begin(), text.end(), 'a'), 2 + 4) << text;  // Four in the words.
  EXPECT_THAT(text, HasSubstr(" rank\n"));
  EXPECT_THAT(text, Not(HasSubstr("step")));
}

}  // namespace
}  // namespace graft
