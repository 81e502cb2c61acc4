#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/output.h"
#include "client/cli/plot.h"

namespace graft {
namespace {

constexpr size_t kLeastCurveColumns = 16;
constexpr size_t kColumnsOfATick = 12;
constexpr int kYTicks = 5;
constexpr const char* kColours[] = {"34", "31", "32", "35", "33", "36"};
constexpr char kColourEnd[] = "\033[0m";

std::string Colour(size_t curve) {
  return absl::StrCat("\033[", kColours[curve % std::size(kColours)], "m");
}

char Letter(size_t curve) { return static_cast<char>('a' + curve % 26); }

// Dots in cells of a terminal. In a cell several curves may have dots; the last one shows.
class Canvas {
 public:
  // `fine`: two columns and four rows of dots a cell.
  Canvas(size_t columns, size_t rows, bool fine)
      : columns_(columns),
        rows_(rows),
        dots_across_(fine ? 2 : 1),
        dots_down_(fine ? 4 : 1),
        cells_(columns * rows) {}

  struct Cell {
    uint8_t dots = 0;  // Of braille, if fine.
    size_t curve = 0;
    bool empty = true;
  };

  // From 0 to 1, from the lower left corner.
  void Line(double x0, double y0, double x1, double y1, size_t curve) {
    const auto across = static_cast<double>(columns_ * dots_across_ - 1);
    const auto down = static_cast<double>(rows_ * dots_down_ - 1);
    const double dx = (x1 - x0) * across, dy = (y1 - y0) * down;
    const int steps =
        std::max(1, static_cast<int>(std::ceil(std::max(std::abs(dx), std::abs(dy)))));
    for (int i = 0; i <= steps; ++i) {
      const double part = static_cast<double>(i) / steps;
      Set(std::lround(x0 * across + part * dx), std::lround((1 - y0) * down - part * dy), curve);
    }
  }

  const Cell& cell(size_t column, size_t row) const { return cells_[row * columns_ + column]; }

 private:
  void Set(long x, long y, size_t curve) {
    const auto across = static_cast<long>(dots_across_), down = static_cast<long>(dots_down_);
    const long column = std::clamp(x / across, 0L, static_cast<long>(columns_) - 1);
    const long row = std::clamp(y / down, 0L, static_cast<long>(rows_) - 1);
    // The order of Unicode's braille patterns.
    static constexpr uint8_t kDots[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    Cell& cell = cells_[static_cast<size_t>(row) * columns_ + static_cast<size_t>(column)];
    cell.dots |= kDots[y % down][x % across];
    cell.curve = curve;
    cell.empty = false;
  }

  const size_t columns_, rows_;
  const size_t dots_across_, dots_down_;
  std::vector<Cell> cells_;
};

void Draw(const Plot& plot, const PlotScales& scales, Canvas& canvas) {
  for (size_t c = 0; c < plot.curves.size(); ++c) {
    const PlotPoint* before = nullptr;
    for (const PlotPoint& point : plot.curves[c].points) {
      if (!std::isfinite(point.y)) continue;
      const double x = scales.x.PlaceOf(point.x);
      if (std::isfinite(point.low) && std::isfinite(point.high)) {
        canvas.Line(x, scales.y.PlaceOf(point.low), x, scales.y.PlaceOf(point.high), c);
      }
      const PlotPoint& from = before == nullptr || plot.scattered ? point : *before;
      canvas.Line(scales.x.PlaceOf(from.x), scales.y.PlaceOf(from.y), x, scales.y.PlaceOf(point.y),
                  c);
      before = &point;
    }
  }
}

// U+2800 with its dots, as UTF-8.
std::string Braille(uint8_t dots) {
  return {'\xe2', static_cast<char>(0xa0 | dots >> 6), static_cast<char>(0x80 | (dots & 0x3f))};
}

std::string CellText(const Canvas::Cell& cell, bool fine, bool colour) {
  if (cell.empty) return " ";
  const std::string text = fine ? Braille(cell.dots) : std::string(1, Letter(cell.curve));
  return colour ? absl::StrCat(Colour(cell.curve), text, kColourEnd) : text;
}

// The tick of a row: the one that is nearest to it, if it is in it.
std::string RowLabel(const PlotScale& scale, size_t row, size_t rows) {
  for (const PlotTick& tick : scale.ticks) {
    const double place = (1 - scale.PlaceOf(tick.value)) * static_cast<double>(rows - 1);
    if (std::lround(place) == static_cast<long>(row)) return tick.text;
  }
  return "";
}

// The line of the axis, and the texts below it.
std::string XAxis(const PlotScale& scale, const std::string& title, size_t margin, size_t columns,
                  bool utf8) {
  std::string axis, texts(margin + columns, ' ');
  std::vector<bool> ticks(columns, false);
  size_t free_from = 0;
  for (const PlotTick& tick : scale.ticks) {
    const auto column = static_cast<size_t>(
        std::lround(scale.PlaceOf(tick.value) * static_cast<double>(columns - 1)));
    ticks[std::min(column, columns - 1)] = true;
    const size_t half = tick.text.size() / 2;
    const size_t begin = std::min(margin + column - std::min(column + margin, half),
                                  margin + columns - tick.text.size());
    if (begin < free_from) continue;
    texts.replace(begin, tick.text.size(), tick.text);
    free_from = begin + tick.text.size() + 1;
  }
  for (const bool tick : ticks) {
    axis += utf8 ? (tick ? "┬" : "─") : (tick ? "+" : "-");
  }
  return absl::StrCat(std::string(margin - 1, ' '), utf8 ? "└" : "+", axis, "\n",
                      texts.substr(0, texts.find_last_not_of(' ') + 1), " ", title, "\n");
}

std::string Legend(const Plot& plot, const TextPlotOptions& options) {
  std::string text;
  for (size_t c = 0; c < plot.curves.size(); ++c) {
    const PlotCurve& curve = plot.curves[c];
    std::string mark;
    if (options.colour) {
      mark = absl::StrCat(Colour(c), options.utf8 ? "━━" : std::string(2, Letter(c)), kColourEnd,
                          "  ");
    } else if (plot.curves.size() > 1) {
      mark = absl::StrCat(std::string(1, Letter(c)), "  ");
    }
    std::string facts;
    if (!curve.points.empty() && !plot.scattered) {
      const PlotPoint& last = curve.points.back();
      facts = absl::StrFormat("  %.4g at step %.0f", last.y, last.x);
    }
    absl::StrAppend(&text, "  ", mark,
                    OneLine(absl::StrCat(curve.label, facts), options.columns - 6), "\n");
  }
  return text;
}

}  // namespace

std::string PlotText(const Plot& plot, const TextPlotOptions& options) {
  const bool fine = options.utf8 && (options.colour || plot.curves.size() == 1);
  const int x_ticks = std::max<int>(2, static_cast<int>(options.columns / kColumnsOfATick));
  const PlotScales scales = ScalesOf(plot, x_ticks, kYTicks);
  size_t label_width = 0;
  for (const PlotTick& tick : scales.y.ticks) label_width = std::max(label_width, tick.text.size());
  const size_t margin = label_width + 2;
  const size_t columns =
      std::max(kLeastCurveColumns,
               options.columns - std::min(options.columns, margin + 1 + plot.x_title.size()));
  Canvas canvas(columns, options.rows, fine);
  Draw(plot, scales, canvas);
  std::string text = absl::StrCat(plot.title, "\n");
  for (size_t row = 0; row < options.rows; ++row) {
    const std::string label = RowLabel(scales.y, row, options.rows);
    const char* const edge =
        options.utf8 ? (label.empty() ? "│" : "┤") : (label.empty() ? "|" : "+");
    absl::StrAppendFormat(&text, "%*s %s", static_cast<int>(label_width), label, edge);
    std::string cells;
    size_t blanks = 0;
    for (size_t column = 0; column < columns; ++column) {
      const Canvas::Cell& cell = canvas.cell(column, row);
      if (cell.empty) {
        ++blanks;
        continue;
      }
      absl::StrAppend(&cells, std::string(std::exchange(blanks, 0), ' '),
                      CellText(cell, fine, options.colour));
    }
    absl::StrAppend(&text, cells, "\n");
  }
  return absl::StrCat(text, XAxis(scales.x, plot.x_title, margin, columns, options.utf8),
                      Legend(plot, options));
}

}  // namespace graft
