#pragma once

#include <string>

#include "worker/engine/engine_spec.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// "greedy", "sample temperature=0.7 top_k=50 top_p=0.95 seed=42" or "beam num_beams=4
// length_penalty=1 early_stopping=false"; then " repetition_penalty=1.2 no_repeat_ngram_size=3" as
// far as they are used.
std::string DecodingName(const GenerationConfig& config);

// Fills the settings of the fingerprint part of `event`; counts and hash are the caller's.
void SetScoringSettings(const DataConfig& data, const EvaluationConfig& evaluation,
                        const std::string& precision, EvaluationEvent* event);

}  // namespace graft
