#pragma once

// One pass through the base for the micro-batches of one or several trials.

#include <ATen/core/Tensor.h>

#include <vector>

#include "worker/engine/training/trial.h"

namespace graft {

// The batches' losses, [K], by the order in which `order` puts the batches; the gradients of what
// each trains are there afterwards.
at::Tensor LossesWithGradients(const std::vector<MicroBatch>& batches, std::vector<size_t>& order);

}  // namespace graft
