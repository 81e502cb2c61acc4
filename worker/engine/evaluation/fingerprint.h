#pragma once

#include <string>
#include <vector>

#include "common/base/sha256.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// Hash over the references of an evaluation, in order: for each row, each reference's bytes and a
// zero byte, then a byte 1.
class SamplesHash {
 public:
  void Add(const std::vector<std::string>& references);
  std::string Hex() const { return hash_.Hex(); }

 private:
  Sha256 hash_;
};

// "greedy", or "sample temperature=0.7 top_k=50 top_p=0.95 seed=42".
std::string DecodingName(const GenerationConfig& config);

// Fills the settings of the fingerprint part of `event`; counts and hash are the caller's.
void SetScoringSettings(const DataConfig& data, const EvaluationConfig& evaluation,
                        EvaluationEvent* event);

}  // namespace graft
