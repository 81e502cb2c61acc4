#include "worker/engine/training/early_stopping.h"

#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace graft {
namespace {

// NaN unless the loss is finite too: texts that broken weights generate still have their scores.
double FiniteValue(const EvaluationEvent& evaluation, double value) {
  const auto loss = evaluation.values.find("eval/loss");
  const bool finite =
      std::isfinite(value) && (loss == evaluation.values.end() || std::isfinite(loss->second));
  return finite ? value : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

absl::StatusOr<bool> UpdateEarlyStopping(const TrainingConfig::EarlyStopping& config,
                                         const EvaluationEvent& evaluation,
                                         EarlyStoppingState& state) {
  const auto found = evaluation.values.find(config.metric);
  if (found == evaluation.values.end()) {
    std::vector<std::string> names;
    for (const auto& [name, value] : evaluation.values) names.push_back(name);
    return absl::InvalidArgumentError(
        absl::StrCat("training.early_stopping.metric: the evaluation has no ", config.metric,
                     "; it has ", absl::StrJoin(names, ", ")));
  }
  const bool less_is_better =
      absl::StrContains(config.metric, "loss") || absl::StrContains(config.metric, "perplexity");
  const double value = FiniteValue(evaluation, found->second);
  const auto gain = [&](double over) { return less_is_better ? over - value : value - over; };
  const bool finite = std::isfinite(value);
  const bool first = state.evaluations == 0;
  ++state.evaluations;
  const bool best = finite && (first || std::isnan(state.best_value) || gain(state.best_value) > 0);
  if (best || first) state.best_value = value;
  const bool reset =
      first ||
      (finite && (!std::isfinite(state.reset_value) || gain(state.reset_value) > config.min_delta));
  if (reset) {
    state.reset_value = value;
    state.without_improvement = 0;
  } else {
    ++state.without_improvement;
  }
  state.stop = config.patience > 0 && state.without_improvement >= config.patience;
  return best;
}

}  // namespace graft
