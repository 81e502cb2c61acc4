#pragma once

#include <cstdint>

#include "common/formats/gpt2_config.h"
#include "common/methods/method_config.h"

namespace graft {

// Numbers that a method of these parts trains on such a model: all that its tensors hold.
int64_t CountTrainedParameters(const MethodConfig& parts, const Gpt2Config& gpt2);

}  // namespace graft
