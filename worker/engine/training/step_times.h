#pragma once

// What a run's steps will take, found out by doing some of them.

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/engine/training/trainer.h"

namespace graft {

struct StepTimes {
  double seconds_per_token = 0;  // Of a micro-batch, pads and virtual tokens counted.
  double step_seconds = 0;       // Mean of an optimiser step of the run.
  int64_t total_steps = 0;
  int64_t num_evaluations = 0;
  int64_t batch_size = 0;     // Rows of a micro-batch: fewer than the spec's, where memory ends.
  int64_t micro_batches = 0;  // Of a whole step.
  int64_t peak_bytes = 0;     // Of the tensors at their most.
};

// Sends the longest row through the model, then as many of the longest rows as a micro-batch has or
// `within` leaves time for, then does steps while another one fits into it; leaves what it trained
// in the adapter. `parts` names neither checkpoints nor an evaluator.
//
// A pass takes as long as its tokens, pads and virtual ones too, are many: seconds a token are
// measured, and the run's tokens are counted, in the order in which it will read them. Where there
// is no time for a whole micro-batch, the memory that it needs follows from one row and from those
// that there was time for, since each takes as much.
//
// Codes of Train; CANCELLED (`stop`) only if there was no pass before it.
absl::StatusOr<StepTimes> MeasureSteps(const TrialParts& parts, absl::Duration within);

}  // namespace graft
