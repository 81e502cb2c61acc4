#pragma once

#include "common/formats/gpt2_config.h"
#include "graft/v1/model.pb.h"

namespace graft {

// What a model's message says of its config: sizes, and whether the head is tied.
void SetShape(const Gpt2Config& config, v1::Model* model);

}  // namespace graft
