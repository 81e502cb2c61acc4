#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// What early stopping remembers between evaluations: part of a checkpoint.
struct EarlyStoppingState {
  int64_t evaluations = 0;
  double best_value = 0;   // Of the best evaluation so far; NaN: none was finite.
  double reset_value = 0;  // Of the one at which the patience was last reset.
  int64_t without_improvement = 0;
  bool stop = false;
};

// Takes one evaluation in. The best evaluation is the best value, however little better; the
// patience is reset only by a value that beats the last reset's by more than min_delta, so slow but
// steady progress goes on (transformers' EarlyStoppingCallback would stop it). An evaluation whose
// value or loss is not finite is never the best and never improves. Returns whether this evaluation
// is the best so far; INVALID_ARGUMENT when the evaluation lacks the metric.
absl::StatusOr<bool> UpdateEarlyStopping(const TrainingConfig::EarlyStopping& config,
                                         const EvaluationEvent& evaluation,
                                         EarlyStoppingState& state);

}  // namespace graft
