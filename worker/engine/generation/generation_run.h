#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/generation/generator.h"
#include "worker/engine/gpt2/kv_cache.h"

namespace graft {

// What a Generate is about. Rows are indices of its prompts.
struct GenerationRun {
  std::span<const Prompt> prompts;
  const GeneratorOptions& options;
  StopToken& stop;
  const TokenCallback& on_token;
  std::vector<Generated>& results;

  // The ids that a row begins with: its prompt, or <|endoftext|> for an empty one without a soft
  // prompt.
  std::vector<int32_t> BeginningOf(int64_t row) const;
  // Positions of the cache that the row needs.
  int64_t Capacity(int64_t row) const;
  // So many more prompts are done.
  void TellDone(size_t count) const {
    if (count > 0 && options.on_done) options.on_done(static_cast<int64_t>(count));
  }
  // An id that pads.
  int32_t pad_id() const { return std::max(options.end_of_text_id, 0); }
  // Runs the prompts of `rows`, which it puts into an order in which they share most; logits [rows,
  // V] of what comes next, in that order.
  at::Tensor Prefill(std::vector<int64_t>& rows, KvCache& cache) const;
};

// The likeliest tokens, or drawn ones (GenerationConfig::do_sample), of `rows` in turn: as soon as
// enough of those in the cache are done, the next ones take their slots.
absl::Status RunTokens(const GenerationRun& run, std::vector<int64_t> rows);

// Beam search with GenerationConfig::num_beams beams a prompt; `rows` go through it together.
absl::Status RunBeams(const GenerationRun& run, std::vector<int64_t> rows);

}  // namespace graft
