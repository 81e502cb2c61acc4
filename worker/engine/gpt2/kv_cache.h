#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/engine/gpt2/network.h"

namespace graft {

// Keys and values of the tokens that a batch of rows has seen, for generation. Memory for
// `capacity` positions a row (virtual tokens included) is taken once and written in place.
// Rows have lengths of their own; finished rows can leave. One thread.
//
//   KvCache cache(network, B, P + longest prompt + max_new_tokens);
//   logits = Prefill(network, ids, lengths, cache);
//   while (...) logits = DecodeStep(network, next_ids, cache);
class KvCache {
 public:
  KvCache(const Gpt2Network& network, int64_t batch, int64_t capacity);

  int64_t batch() const { return static_cast<int64_t>(lengths_.size()); }
  // Positions that row b holds, virtual tokens included.
  int64_t length(int64_t row) const { return lengths_[row]; }

  // Row i becomes what row rows[i] was; the others leave. Indices may repeat and be in any order
  // (beam search); their number must not exceed the batch that the cache was made for.
  void Select(std::span<const int64_t> rows);

 private:
  friend at::Tensor Prefill(const Gpt2Network&, const at::Tensor&, std::span<const int64_t>,
                            KvCache&);
  friend at::Tensor DecodeStep(const Gpt2Network&, const at::Tensor&, KvCache&);

  std::vector<at::Tensor> keys_;    // A layer each: [batch, H, capacity, C / H].
  std::vector<at::Tensor> values_;  // Likewise.
  std::vector<int64_t> lengths_;
};

// Runs the prompts and fills an empty cache. ids [B, T] int64 padded on the right, lengths [B] real
// tokens a row (≥ 1, unless there is a soft prompt). Returns the logits of each row's last real
// position, [B, V] in fp32 (fp64 for fp64 networks). Needs no autograd: call under
// c10::NoGradGuard.
at::Tensor Prefill(const Gpt2Network& network, const at::Tensor& ids,
                   std::span<const int64_t> lengths, KvCache& cache);

// One more token for every row. ids [B] int64. Each row's token takes that row's next position, so
// a row gets exactly what it would get alone. Returns logits [B, V] as Prefill. No row may be full.
at::Tensor DecodeStep(const Gpt2Network& network, const at::Tensor& ids, KvCache& cache);

}  // namespace graft
