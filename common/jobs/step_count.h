#pragma once

// How many steps a training takes. A micro-batch is batch_size rows, the last of an epoch may be
// shorter and is kept; a step is gradient_accumulation_steps micro-batches, the last of an epoch
// may have fewer.

#include <cstdint>

#include "graft/v1/spec.pb.h"

namespace graft {

// Optimiser steps in one pass over `rows` (> 0) rows:
// ceil(ceil(rows / batch_size) / gradient_accumulation_steps).
int64_t StepsPerEpoch(int64_t rows, const v1::TrainingSpec& resolved);

// max_steps if set, else epochs * StepsPerEpoch.
int64_t TotalSteps(int64_t rows, const v1::TrainingSpec& resolved);

// warmup_steps if set, else ceil(warmup_ratio * total_steps).
int64_t WarmupSteps(int64_t total_steps, const v1::TrainingSpec& resolved);

// Rows held out of `rows`: ceil(fraction * rows).
int64_t HeldOutRows(int64_t rows, double fraction);

}  // namespace graft
