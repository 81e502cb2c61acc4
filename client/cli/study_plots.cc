#include "client/cli/study_plots.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/output.h"

namespace graft {
namespace {

constexpr double kLogarithmicFrom = 10;  // Greatest to smallest.
constexpr size_t kLeastOfTicks = 8;      // So many values are all named.
constexpr size_t kMostOfName = 16;
constexpr int64_t kEnd = 0;

std::optional<double> NumberOf(const std::string& json) {
  double value = 0;
  return absl::SimpleAtod(json, &value) ? std::optional(value) : std::nullopt;
}

// Where the values of a field stand on their axis.
class Axis {
 public:
  Axis(const v1::Study& study, const std::string& field) : field_(field) {
    numeric_ = true;
    for (const v1::Trial& trial : study.trials()) {
      const auto value = trial.parameters().find(field);
      if (value == trial.parameters().end()) continue;
      const std::optional<double> number = NumberOf(value->second);
      numeric_ = numeric_ && number.has_value();
      if (number) numbers_.push_back(*number);
      if (!places_.contains(value->second)) {
        places_.emplace(value->second, static_cast<double>(names_.size()));
        names_.push_back(value->second);
      }
    }
    std::sort(numbers_.begin(), numbers_.end());
    numbers_.erase(std::unique(numbers_.begin(), numbers_.end()), numbers_.end());
    const auto dimension = study.space().find(field);
    const bool drawn_so = dimension != study.space().end() && dimension->second.has_log_range();
    logarithmic_ = numeric_ && !numbers_.empty() && numbers_.front() > 0 &&
                   (drawn_so || numbers_.back() > kLogarithmicFrom * numbers_.front());
  }

  std::optional<double> PlaceOf(const v1::Trial& trial) const {
    const auto value = trial.parameters().find(field_);
    if (value == trial.parameters().end()) return std::nullopt;
    if (!numeric_) return places_.at(value->second);
    const double number = *NumberOf(value->second);
    return logarithmic_ ? std::log10(number) : number;
  }

  std::vector<PlotTick> Ticks() const {
    std::vector<PlotTick> ticks;
    if (!numeric_) {
      for (size_t i = 0; i < names_.size(); ++i) {
        ticks.push_back({static_cast<double>(i), OneLine(names_[i], kMostOfName)});
      }
    } else if (numbers_.size() <= kLeastOfTicks) {
      for (const double number : numbers_) {
        ticks.push_back(
            {logarithmic_ ? std::log10(number) : number, absl::StrFormat("%g", number)});
      }
    } else if (logarithmic_) {
      const auto first = static_cast<int>(std::floor(std::log10(numbers_.front())));
      const auto last = static_cast<int>(std::ceil(std::log10(numbers_.back())));
      for (int power = first; power <= last; ++power) {
        ticks.push_back({static_cast<double>(power), absl::StrFormat("%g", std::pow(10, power))});
      }
    }
    return ticks;  // Else at round numbers.
  }

 private:
  const std::string field_;
  bool numeric_ = false;
  bool logarithmic_ = false;
  std::vector<double> numbers_;  // Ascending, each once.
  std::vector<std::string> names_;
  std::map<std::string, double> places_;
};

// The last value of a trial, with its step.
std::optional<std::pair<int64_t, double>> ValueOf(const v1::Trial& trial) {
  if (trial.has_value()) return std::pair(kEnd, trial.value());
  if (trial.values().empty()) return std::nullopt;
  return std::pair(trial.values().rbegin()->step(), trial.values().rbegin()->value());
}

// The last part of a field's path: "learning_rate".
std::string ShortName(const std::string& field) { return field.substr(field.rfind('.') + 1); }

}  // namespace

std::vector<Plot> StudyPlots(const v1::Study& study) {
  std::map<std::string, const v1::Dimension*> fields;  // By path, as the server orders them.
  for (const auto& [field, dimension] : study.space()) fields.emplace(field, &dimension);
  std::vector<Plot> plots;
  for (const auto& [field, dimension] : fields) {
    const Axis axis(study, field);
    std::map<int64_t, PlotCurve> by_step;
    for (const v1::Trial& trial : study.trials()) {
      const auto value = ValueOf(trial);
      const std::optional<double> place = axis.PlaceOf(trial);
      if (!value || !place) continue;
      by_step[value->first].points.push_back({*place, value->second, value->second, value->second});
    }
    if (by_step.empty()) continue;
    Plot plot;
    plot.title = absl::StrCat(study.objective().metric(), " by ", field);
    plot.x_title = ShortName(field);
    plot.scattered = true;
    plot.x_ticks = axis.Ticks();
    for (auto& [step, curve] : by_step) {
      const size_t trials = curve.points.size();
      curve.label = absl::StrCat(
          step == kEnd ? "at the end"
                       : absl::StrCat("after ", step, " steps, where it was ended or waits"),
          ": ", trials, trials == 1 ? " trial" : " trials");
      std::sort(curve.points.begin(), curve.points.end(),
                [](const PlotPoint& a, const PlotPoint& b) { return a.x < b.x; });
      plot.curves.push_back(std::move(curve));
    }
    plots.push_back(std::move(plot));
  }
  return plots;
}

}  // namespace graft
