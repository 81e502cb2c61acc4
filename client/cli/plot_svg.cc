#include <cmath>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/cli/plot.h"

namespace graft {
namespace {

// In units of the picture.
constexpr double kWidth = 800;
constexpr double kLeft = 70, kRight = 20, kTop = 40, kCurvesHeight = 300, kBelow = 50;
constexpr double kLegendLine = 20;
constexpr double kCurvesWidth = kWidth - kLeft - kRight;
// Colours that people who see some colours alike tell apart (M. Okabe, K. Ito, 2008).
constexpr const char* kStrokes[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                    "#E69F00", "#56B4E9", "#000000"};

std::string Escaped(const std::string& text) {
  std::string escaped = absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
  // XML has no control characters, however they are written.
  for (char& c : escaped) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return escaped;
}

std::string StrokeOf(size_t curve) {
  constexpr size_t kColours = std::size(kStrokes);
  const char* const dashes[] = {"", "6 3", "2 3"};
  const char* const dash = dashes[curve / kColours % std::size(dashes)];
  return absl::StrFormat("stroke=\"%s\" stroke-width=\"1.5\"%s", kStrokes[curve % kColours],
                         *dash == 0 ? "" : absl::StrCat(" stroke-dasharray=\"", dash, "\""));
}

std::string FillOf(size_t curve) {
  return absl::StrFormat("fill=\"%s\" fill-opacity=\"0.7\"", kStrokes[curve % std::size(kStrokes)]);
}

void AppendText(double x, double y, const char* anchor, const std::string& text, std::string& svg) {
  absl::StrAppendFormat(&svg, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y,
                        anchor, Escaped(text));
}

struct Place {
  const PlotScales& scales;
  double top;
  double X(double value) const { return kLeft + kCurvesWidth * scales.x.PlaceOf(value); }
  double Y(double value) const { return top + kCurvesHeight * (1 - scales.y.PlaceOf(value)); }
};

void AppendAxes(const Place& place, const std::string& x_title, std::string& svg) {
  const double bottom = place.top + kCurvesHeight;
  for (const PlotTick& tick : place.scales.y.ticks) {
    const double y = place.Y(tick.value);
    absl::StrAppendFormat(
        &svg, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", kLeft, y,
        kLeft + kCurvesWidth, y);
    AppendText(kLeft - 6, y + 4, "end", tick.text, svg);
  }
  for (const PlotTick& tick : place.scales.x.ticks) {
    const double x = place.X(tick.value);
    absl::StrAppendFormat(
        &svg, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#888\"/>\n", x,
        bottom, x, bottom + 5);
    AppendText(x, bottom + 18, "middle", tick.text, svg);
  }
  absl::StrAppendFormat(&svg,
                        "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" "
                        "stroke=\"#888\"/>\n",
                        kLeft, place.top, kCurvesWidth, kCurvesHeight);
  AppendText(kLeft + kCurvesWidth / 2, bottom + 36, "middle", x_title, svg);
}

// What the values between the points did, faintly behind the curve.
void AppendSpread(const PlotCurve& curve, const Place& place, const std::string& stroke,
                  std::string& svg) {
  std::string path;
  for (const PlotPoint& point : curve.points) {
    if (!std::isfinite(point.low) || !std::isfinite(point.high) || point.low == point.high) {
      continue;
    }
    absl::StrAppendFormat(&path, "M%.1f %.1fV%.1f", place.X(point.x), place.Y(point.low),
                          place.Y(point.high));
  }
  if (path.empty()) return;
  absl::StrAppend(&svg, "<path d=\"", path, "\" fill=\"none\" opacity=\"0.3\" ", stroke, "/>\n");
}

void AppendCurve(const PlotCurve& curve, const Place& place, const std::string& stroke,
                 std::string& svg) {
  std::string path;
  for (const PlotPoint& point : curve.points) {
    if (!std::isfinite(point.y)) continue;
    absl::StrAppendFormat(&path, "%s%.1f %.1f", path.empty() ? "M" : "L", place.X(point.x),
                          place.Y(point.y));
  }
  if (path.empty()) return;
  // A line without length is a dot where its ends are round.
  if (path.find('L') == std::string::npos) absl::StrAppend(&path, "h0.01");
  absl::StrAppend(&svg, "<path d=\"", path,
                  "\" fill=\"none\" stroke-linejoin=\"round\" stroke-linecap=\"round\" ", stroke,
                  "/>\n");
}

void AppendDots(const PlotCurve& curve, const Place& place, const std::string& fill,
                std::string& svg) {
  for (const PlotPoint& point : curve.points) {
    if (!std::isfinite(point.y)) continue;
    absl::StrAppendFormat(&svg, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" %s/>\n", place.X(point.x),
                          place.Y(point.y), fill);
  }
}

}  // namespace

std::string PlotSvg(const std::vector<Plot>& plots) {
  std::string body;
  double top = 0;
  for (const Plot& plot : plots) {
    const PlotScales scales = ScalesOf(plot, 9, 6);
    const Place place = {scales, top + kTop};
    AppendText(kLeft, top + 24, "start", plot.title, body);
    AppendAxes(place, plot.x_title, body);
    double legend = place.top + kCurvesHeight + kBelow;
    for (size_t c = 0; c < plot.curves.size(); ++c) {
      AppendSpread(plot.curves[c], place, StrokeOf(c), body);
      if (plot.scattered) {
        AppendDots(plot.curves[c], place, FillOf(c), body);
      } else {
        AppendCurve(plot.curves[c], place, StrokeOf(c), body);
      }
      absl::StrAppendFormat(&body, "<path d=\"M%.1f %.1fh30\" fill=\"none\" %s/>\n", kLeft,
                            legend - 4, StrokeOf(c));
      AppendText(kLeft + 38, legend, "start", plot.curves[c].label, body);
      legend += kLegendLine;
    }
    top = legend + 10;
  }
  return absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
      "height=\"%.0f\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n%s</svg>\n",
      kWidth, top, kWidth, top, body);
}

}  // namespace graft
