#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "worker/engine/gpt2/network.h"
#include "worker/engine/gpt2/network_rows.h"

namespace graft {

// Prompts of one network: ids [B, T] int64 padded on the right, with B lengths in real tokens (≥ 1,
// unless there is a soft prompt).
struct PromptRows {
  const Gpt2Network* network = nullptr;
  at::Tensor ids;
  std::vector<int64_t> lengths;
};

// Keys and values of what rows have seen, for generation. Memory for `slots` rows of `capacity`
// positions (virtual tokens included) is taken once and written in place. Rows come and go, have
// lengths of their own, and networks of their own on one base, which outlive it. One thread.
//
//   KvCache cache(network, slots, P + longest prompt + max_new_tokens);
//   logits = Prefill(prompts, cache);           // Its rows come after those that are there.
//   while (...) logits = DecodeStep(next_ids, cache);
class KvCache {
 public:
  // For rows of `network` and others on its base.
  KvCache(const Gpt2Network& network, int64_t slots, int64_t capacity);

  int64_t num_rows() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t slots() const { return slots_; }
  int64_t capacity() const { return keys_[0].size(2); }
  // Room for at least so many rows and positions. What is there stays.
  void Reserve(int64_t slots, int64_t capacity);
  // Positions that a row holds, virtual tokens included.
  int64_t length(int64_t row) const { return lengths_[static_cast<size_t>(row)]; }

  // Row i becomes what row rows[i] was; the others leave. Indices may repeat and be in any order
  // (beam search); there must be no more of them than slots. Rows that stay where they are cost
  // nothing.
  void Select(std::span<const int64_t> rows);

 private:
  friend at::Tensor Prefill(std::span<const PromptRows>, KvCache&);
  friend at::Tensor DecodeStep(const at::Tensor&, KvCache&);

  // Makes what lies behind `length` positions of some slots, from `first` on, zeros again.
  void ClearBehind(int64_t first, int64_t count, int64_t length);
  void Arrange();

  int64_t slots_;
  std::vector<at::Tensor> keys_;    // A layer each: [slots, H, capacity, C / H].
  std::vector<at::Tensor> values_;  // Likewise.
  std::vector<int64_t> lengths_;    // Of the rows, which have the first slots.
  int64_t reached_ = 0;             // Positions that some row has had: behind them all is zeros.
  std::vector<const Gpt2Network*> networks_;
  // The order in which rows go through the network, so that those that share weights are beside
  // each other (OrderBySharing), and its inverse. Undefined: that of the slots.
  std::vector<NetworkRows> shared_rows_;
  at::Tensor order_, places_;
};

// Runs prompts, whose rows the cache then has besides its own. Returns the logits of each prompt's
// last real position, [rows, V] in fp32 (fp64 for fp64 networks), in the order of `prompts`. Needs
// no autograd: call under c10::NoGradGuard.
at::Tensor Prefill(std::span<const PromptRows> prompts, KvCache& cache);

// One more token for every row. ids [rows] int64. Each row's token takes that row's next position,
// so a row gets exactly what it would get alone. Returns logits [rows, V] as Prefill. No row may be
// full.
at::Tensor DecodeStep(const at::Tensor& ids, KvCache& cache);

}  // namespace graft
