#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/engine/engine_spec.h"

namespace graft {

// Chooses the next token from one row's logits as transformers' generate does with do_sample: the
// logits divided by the temperature, then top-k (ties with the k-th stay), then top-p (the smallest
// set of the likeliest tokens whose probabilities reach top_p; at least one). Immutable.
class Sampler {
 public:
  explicit Sampler(const GenerationConfig& config) : config_(config) {}

  // What the token is drawn from: probabilities of all V tokens, summing to 1.
  std::vector<double> Probabilities(std::span<const float> logits) const;

  // The draw is a function of (seed, row, position, logits) alone: not of the rows beside it.
  int64_t Sample(std::span<const float> logits, int64_t row, int64_t position) const;

 private:
  GenerationConfig config_;
};

}  // namespace graft
