#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/generation/generator.h"
#include "worker/engine/gpt2/kv_cache.h"

namespace graft {

// Some of the prompts of a Generate, which go through the network together.
struct PromptBatch {
  const Gpt2Network& network;
  const GeneratorOptions& options;
  std::span<const std::vector<int32_t>> prompts;  // All of them.
  std::vector<int64_t> rows;                      // Indices of those in the batch.
  StopToken& stop;
  const TokenCallback& on_token;
  std::vector<Generated>& results;  // For all prompts.

  // The ids that row i begins with: its prompt, or <|endoftext|> for an empty one without a soft
  // prompt.
  std::vector<int32_t> Beginning(size_t i) const;
  // Positions a row of the cache needs.
  int64_t Capacity() const;
  // So many more prompts are done.
  void TellDone(size_t count) const {
    if (count > 0 && options.on_done) options.on_done(static_cast<int64_t>(count));
  }
  // Runs the prompts; logits [rows, V] of what comes next.
  at::Tensor Prefill(KvCache& cache) const;
};

// The likeliest tokens, or drawn ones (GenerationConfig::do_sample).
absl::Status RunTokens(PromptBatch batch);

// Beam search with GenerationConfig::num_beams beams a prompt.
absl::Status RunBeams(PromptBatch batch);

}  // namespace graft
