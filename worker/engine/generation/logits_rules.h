#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "worker/engine/engine_spec.h"

namespace graft {

// transformers' RepetitionPenaltyLogitsProcessor, then NoRepeatNGramLogitsProcessor, on rows of
// scores: logits in greedy decoding and sampling, log-probabilities in beam search. Immutable.
class LogitsRules {
 public:
  explicit LogitsRules(const GenerationConfig& config)
      : penalty_(config.repetition_penalty), ngram_size_(config.no_repeat_ngram_size) {}

  // False: Apply changes nothing.
  bool active() const { return penalty_ != 1 || ngram_size_ > 0; }

  // Changes scores [B, V] (contiguous) in place. Each row's score of a token that its sequence has
  // is divided by the penalty if positive, else multiplied by it; tokens that would complete an
  // n-gram that the sequence has already get -inf. sequences[b] are the ids of row b so far: the
  // prompt's and the new ones, no virtual tokens and no padding.
  void Apply(std::span<const std::vector<int32_t>> sequences, const at::Tensor& scores) const;

 private:
  double penalty_;
  int64_t ngram_size_;
};

}  // namespace graft
