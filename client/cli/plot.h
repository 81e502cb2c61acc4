#pragma once

// Curves as pictures: in a terminal's characters, and as SVG. No input or output of its own.

#include <string>
#include <vector>

namespace graft {

struct PlotTick {
  double value = 0;
  std::string text;
};

// `y` at `x`; values between this point and the one before lay between `low` and `high`.
struct PlotPoint {
  double x = 0;
  double y = 0;
  double low = 0;
  double high = 0;
};
struct PlotCurve {
  std::string label;
  std::vector<PlotPoint> points;  // By x; those that are not finite are left out.
};
// Curves on the same axes.
struct Plot {
  std::string title;
  std::vector<PlotCurve> curves;
  std::string x_title = "steps";
  bool scattered = false;         // Points for themselves, not joined.
  std::vector<PlotTick> x_ticks;  // Empty: at round numbers.
};

// From `low` to `high`, which is greater, with ticks at round numbers between.
struct PlotScale {
  double low = 0;
  double high = 1;
  std::vector<PlotTick> ticks;
  // 0 at `low`, 1 at `high`.
  double PlaceOf(double value) const { return (value - low) / (high - low); }
};
// Around these values, with at most `max_ticks` ticks, and at least two where that is possible: at
// 1, 2 or 5 times a power of ten.
PlotScale MakeScale(double low, double high, int max_ticks);

struct PlotScales {
  PlotScale x;
  PlotScale y;
};
// With room at the sides of what is scattered.
PlotScales ScalesOf(const Plot& plot, int max_x_ticks, int max_y_ticks);

struct TextPlotOptions {
  size_t columns = 80;
  size_t rows = 16;     // Of the curves themselves.
  bool utf8 = true;     // Else ASCII.
  bool colour = false;  // Escape codes.
};
// Braille dots where they can be told apart: one curve, or colours. Else a letter for each curve.
std::string PlotText(const Plot& plot, const TextPlotOptions& options);

// One picture, the plots one below the other.
std::string PlotSvg(const std::vector<Plot>& plots);

}  // namespace graft
