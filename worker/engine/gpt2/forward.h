#pragma once

#include <cstdint>

#include "worker/engine/gpt2/network.h"

namespace graft {

// Where dropout acts, and what its random numbers are a function of: (seed, step, micro_batch,
// place in the network), never of what ran before. The same numbers on one kind of device; CPU and
// CUDA differ.
struct DropoutPlan {
  double embedding = 0;
  double attention = 0;
  double residual = 0;
  int64_t first_block = 0;  // Attention and residual dropout act from this block on.
  uint64_t seed = 0;
  int64_t step = 0;
  int64_t micro_batch = 0;
};

// Hidden states after the last block, before ln_f, at the selected positions only.
//   ids        [B, T] int64, padded on the right with any valid id. Pads come after everything
//   real,
//              so causal attention keeps them away from it without a mask.
//   positions  [M] int64 into the flattened [B, P + T]: P virtual tokens stand before each row.
//   dropout    nullptr: evaluation mode (LoRA's dropout is off then, too).
// Returns [M, C] of the stream's type (fp32 for a network of bf16). P + T must not exceed
// n_positions. Follows modeling_gpt2.py of transformers; the soft prompt as PEFT's PROMPT_TUNING.
at::Tensor HiddenStates(const Gpt2Network& network, const at::Tensor& ids,
                        const at::Tensor& positions, const DropoutPlan* dropout);

// ln_f and head: [M, C] → logits [M, V] in fp32 (fp64 for fp64 networks): WideProduct.
at::Tensor Logits(const Gpt2Network& network, const at::Tensor& hidden);

// scale * sum over M of -log softmax(Logits(hidden))[target], a scalar in fp32 (fp64 for fp64
// networks). Logits live in pieces of some rows only: where a gradient is needed it is computed
// with the loss, so nothing of size V is kept for the backward pass. targets [M] int64.
at::Tensor LabelLoss(const Gpt2Network& network, const at::Tensor& hidden,
                     const at::Tensor& targets, double scale);

}  // namespace graft
