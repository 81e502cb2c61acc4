#include <limits>

#include "client/cli/plot.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(PlotSvgTest, EveryCurveHasItsPathAndItsLabel) {
  const std::string svg =
      PlotSvg({{"loss", {{"one", {{0, 2, 1, 3}, {10, 1, 1, 1}}}, {"two", {{5, 2, 2, 2}}}}},
               {"rouge1", {{"three", {{0, 0.5, 0.5, 0.5}}}}}});
  EXPECT_THAT(svg, StartsWith("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 800 "));
  for (const char* part :
       {">loss</text>", ">rouge1</text>", ">one</text>", ">two</text>", ">three</text>",
        "d=\"M70.0 190.0L780.0 340.0\"", "d=\"M70.0 340.0V40.0\"", "stroke=\"#0072B2\"",
        "stroke=\"#D55E00\"", ">steps</text>"}) {
    EXPECT_THAT(svg, HasSubstr(part));
  }
}

TEST(PlotSvgTest, NamesCannotBecomeMarkup) {
  const std::string svg = PlotSvg({{"a<b&\"c'>", {{"</text><script>\n\x01", {{0, 2, 2, 2}}}}}});
  EXPECT_THAT(svg, HasSubstr("a&lt;b&amp;&quot;c&#39;&gt;"));
  EXPECT_THAT(svg, HasSubstr("&lt;/text&gt;&lt;script&gt;  <"));
  EXPECT_THAT(svg, Not(HasSubstr("<script")));
}

TEST(PlotSvgTest, WhatIsNotFiniteIsLeftOut) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const std::string svg = PlotSvg({{"loss",
                                    {{"one", {{0, 2, 2, 2}, {1, kNan, kNan, kNan}, {2, 1, 1, 1}}},
                                     {"none", {{0, kNan, kNan, kNan}}}}}});
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, HasSubstr(">none</text>"));
}

}  // namespace
}  // namespace graft
