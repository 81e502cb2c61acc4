#include "client/cli/plot.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_format.h"

namespace graft {
namespace {

// Beside points, of what they span.
constexpr double kSideRoom = 0.05;

// The round number that is nearest above: 1, 2 or 5 times a power of ten.
double RoundUp(double step) {
  const double power = std::pow(10, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= step * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

std::string TickText(double value, double step) {
  if (step < 1e-4 || std::abs(value) >= 1e7) return absl::StrFormat("%.3g", value);
  const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  return absl::StrFormat("%.*f", decimals, value);
}

}  // namespace

PlotScale MakeScale(double low, double high, int max_ticks) {
  PlotScale scale;
  // A line that is level lies in the middle.
  const double margin = high > low ? 0 : std::max(std::abs(low) * 0.1, 1e-6);
  scale.low = low - margin;
  scale.high = high + margin;
  const double step = RoundUp((scale.high - scale.low) / std::max(1, max_ticks - 1));
  const auto first = static_cast<int64_t>(std::ceil(scale.low / step - 1e-9));
  for (int64_t i = first; i * step <= scale.high + 1e-9 * step; ++i) {
    const double value = static_cast<double>(i) * step;
    scale.ticks.push_back({value, TickText(value, step)});
  }
  return scale;
}

PlotScales ScalesOf(const Plot& plot, int max_x_ticks, int max_y_ticks) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double left = kInfinity, right = -kInfinity, low = kInfinity, high = -kInfinity;
  for (const PlotCurve& curve : plot.curves) {
    for (const PlotPoint& point : curve.points) {
      if (!std::isfinite(point.y)) continue;
      left = std::min(left, point.x);
      right = std::max(right, point.x);
      for (const double value : {point.y, point.low, point.high}) {
        if (!std::isfinite(value)) continue;
        low = std::min(low, value);
        high = std::max(high, value);
      }
    }
  }
  if (left > right) return {MakeScale(0, 1, max_x_ticks), MakeScale(0, 1, max_y_ticks)};
  for (const PlotTick& tick : plot.x_ticks) {
    left = std::min(left, tick.value);
    right = std::max(right, tick.value);
  }
  if (plot.scattered) {
    const double across = (right - left) * kSideRoom, down = (high - low) * kSideRoom;
    left -= across, right += across;
    low -= down, high += down;
  }
  PlotScales scales = {MakeScale(left, right, max_x_ticks), MakeScale(low, high, max_y_ticks)};
  if (!plot.x_ticks.empty()) scales.x.ticks = plot.x_ticks;
  return scales;
}

}  // namespace graft
