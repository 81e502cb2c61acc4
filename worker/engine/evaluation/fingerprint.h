#pragma once

#include <string>

#include "worker/engine/engine_spec.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// "greedy", or "sample temperature=0.7 top_k=50 top_p=0.95 seed=42".
std::string DecodingName(const GenerationConfig& config);

// Fills the settings of the fingerprint part of `event`; counts and hash are the caller's.
void SetScoringSettings(const DataConfig& data, const EvaluationConfig& evaluation,
                        EvaluationEvent* event);

}  // namespace graft
