#pragma once

// What a run's steps will take, found out by doing some of them.

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/engine/training/trainer.h"

namespace graft {

struct StepTimes {
  double step_seconds = 0;  // Mean of an optimiser step of the run.
  int64_t total_steps = 0;
  int64_t num_evaluations = 0;
  int64_t batch_size = 0;     // Rows of a micro-batch: fewer than the spec's, where memory ends.
  int64_t micro_batches = 0;  // Of a whole step.
};

// Sends the longest rows through the model, so that the peak of memory is seen, then does steps
// until `within` is over, at least two micro-batches, and leaves what it trained in the adapter.
// `parts` names neither checkpoints nor an evaluator.
//
// A pass takes as long as its tokens, pads and virtual ones too, are many: seconds a token are
// measured, with the first micro-batch left out where there are others, and the run's tokens are
// counted, in the order in which it will read them.
//
// Codes of Train; CANCELLED (`stop`) only if there was no micro-batch before it.
absl::StatusOr<StepTimes> MeasureSteps(const TrialParts& parts, absl::Duration within);

}  // namespace graft
