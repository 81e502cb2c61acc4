#include "common/studies/study_ranking.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>

#include "common/base/mean_interval.h"
#include "common/studies/study_spec.h"

namespace graft {
namespace {

constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();

// The trial's value after this step; kEnd: of what it published. A trial that ended before keeps
// what it had then.
std::optional<double> ValueAt(const v1::Trial& trial, int64_t step) {
  if (step != kEnd) {
    for (const v1::RungValue& value : trial.values()) {
      if (value.step() == step) return value.value();
    }
  }
  if (trial.has_value()) return trial.value();
  return std::nullopt;
}

struct Point {
  std::vector<const v1::Trial*> trials;
  int64_t step = 0;  // The last at which one of them has a value.
};

std::map<int, Point> PointsByNumber(const v1::Study& study) {
  std::map<int, Point> points;
  for (const v1::Trial& trial : study.trials()) {
    Point& point = points[trial.point()];
    point.trials.push_back(&trial);
    for (const v1::RungValue& value : trial.values()) {
      point.step = std::max(point.step, value.step());
    }
    if (trial.has_value()) point.step = kEnd;
  }
  return points;
}

std::vector<double> ValuesAt(const Point& point, int64_t step) {
  std::vector<double> values;
  for (const v1::Trial* trial : point.trials) {
    if (const auto value = ValueAt(*trial, step)) values.push_back(*value);
  }
  return values;
}

// Trials of both are in the order of their seeds.
void CompareWithBest(const Point& best, const Point& point, v1::RankedPoint& ranked) {
  const int64_t step = std::min(best.step, point.step);
  std::vector<double> differences;
  for (size_t i = 0; i < std::min(best.trials.size(), point.trials.size()); ++i) {
    const auto a = ValueAt(*best.trials[i], step);
    const auto b = ValueAt(*point.trials[i], step);
    if (a && b) differences.push_back(*a - *b);
  }
  const MeanInterval interval = IntervalOf(differences);
  ranked.set_difference_low(interval.low);
  ranked.set_difference_high(interval.high);
  ranked.set_indistinguishable(differences.size() >= 2 && interval.low <= 0 && interval.high >= 0);
}

}  // namespace

std::vector<v1::RankedPoint> Rank(const v1::Study& study) {
  const std::map<int, Point> points = PointsByNumber(study);
  std::vector<v1::RankedPoint> ranking;
  for (const auto& [number, point] : points) {
    if (point.step == 0) continue;
    const std::vector<double> values = ValuesAt(point, point.step);
    const MeanInterval interval = IntervalOf(values);
    v1::RankedPoint& ranked = ranking.emplace_back();
    ranked.set_point(number);
    ranked.set_mean(interval.mean);
    ranked.set_low(interval.low);
    ranked.set_high(interval.high);
    ranked.set_values(static_cast<int32_t>(values.size()));
    ranked.set_step(point.step == kEnd ? 0 : point.step);
  }
  const bool minimize = Minimizes(study.objective());
  std::stable_sort(ranking.begin(), ranking.end(),
                   [&](const v1::RankedPoint& a, const v1::RankedPoint& b) {
                     const int64_t step_a = points.at(a.point()).step;
                     const int64_t step_b = points.at(b.point()).step;
                     if (step_a != step_b) return step_a > step_b;
                     return minimize ? a.mean() < b.mean() : a.mean() > b.mean();
                   });
  for (size_t i = 1; i < ranking.size(); ++i) {
    CompareWithBest(points.at(ranking[0].point()), points.at(ranking[i].point()), ranking[i]);
  }
  return ranking;
}

const v1::Trial* BestTrial(const v1::Study& study) {
  const std::vector<v1::RankedPoint> ranking = Rank(study);
  const v1::Trial* best = nullptr;
  const bool minimize = Minimizes(study.objective());
  for (const v1::Trial& trial : study.trials()) {
    if (ranking.empty() || trial.point() != ranking[0].point() || !trial.has_value()) continue;
    const bool better = best == nullptr ||
                        (minimize ? trial.value() < best->value() : trial.value() > best->value());
    if (better) best = &trial;
  }
  return best;
}

std::vector<const v1::Trial*> TrialsByRank(const v1::Study& study) {
  std::map<int32_t, int> ranks;  // By point.
  for (int i = 0; i < study.ranking_size(); ++i) ranks[study.ranking(i).point()] = i;
  const auto rank = [&](const v1::Trial& trial) {
    const auto found = ranks.find(trial.point());
    return found == ranks.end() ? study.ranking_size() : found->second;
  };
  std::vector<const v1::Trial*> trials;
  for (const v1::Trial& trial : study.trials()) trials.push_back(&trial);
  std::stable_sort(trials.begin(), trials.end(),
                   [&](const v1::Trial* a, const v1::Trial* b) { return rank(*a) < rank(*b); });
  return trials;
}

}  // namespace graft
