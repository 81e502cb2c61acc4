#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "worker/engine/gpt2/network.h"
#include "worker/engine/gpt2/network_rows.h"

namespace graft {

// Texts that one network computes in a pass.
struct TextBatch {
  const Gpt2Network* network = nullptr;
  at::Tensor ids;        // [B, T] int64, padded on the right with any valid id.
  at::Tensor positions;  // [M] int64 into the flattened [B, P + T]: which are read. P are the rows
                         // of the soft prompt, which stand before each text's.
  // nullptr: evaluation mode (LoRA's dropout is off then, too).
  const DropoutPlan* dropout = nullptr;
};

// Hidden states after the last block, before ln_f, at the positions that are read, those of all
// `texts` below each other: [sum of M, C] of the stream's type (fp32 for a network of bf16). The
// networks are of one base, whose own weights then run once over all rows that use them; each
// text's numbers are those it has alone, up to rounding. P + T and a prefix must not exceed
// n_positions. Follows modeling_gpt2.py of transformers; the soft prompt as PEFT's PROMPT_TUNING,
// the prefix as its PREFIX_TUNING.
at::Tensor HiddenStates(std::span<const TextBatch> texts);
at::Tensor HiddenStates(const Gpt2Network& network, const at::Tensor& ids,
                        const at::Tensor& positions, const DropoutPlan* dropout);

// The stream that the blocks begin with: the soft prompt and the texts ids [B, T], with positions
// from the end of a prefix on → [B * (P + T), C].
at::Tensor Embed(const Gpt2Network& network, const at::Tensor& ids, const Dropout& dropout);

// ln_f and head: [M, C] → logits [M, V] in fp32 (fp64 for fp64 networks): WideProduct.
at::Tensor Logits(std::span<const NetworkRows> rows, const at::Tensor& hidden);
at::Tensor Logits(const Gpt2Network& network, const at::Tensor& hidden);

// What one network's hidden states are to predict.
struct Labels {
  const Gpt2Network* network = nullptr;
  at::Tensor targets;  // [M] int64
  double scale = 1;
};

// Of each of `labels` scale * (sum over its M of -log softmax(Logits(hidden))[target]): [K] in fp32
// (fp64 for fp64 networks). hidden as HiddenStates gives it. Logits live in pieces of some rows
// only: where a gradient is needed it is computed with the loss, so nothing of size V is kept for
// the backward pass.
at::Tensor LabelLosses(std::span<const Labels> labels, const at::Tensor& hidden);
// Each label's own, [M, 1], for one network and without a gradient: their sum() is LabelLoss's, to
// the bit.
at::Tensor EachLabelLoss(const Gpt2Network& network, const at::Tensor& hidden,
                         const at::Tensor& targets);
// Of one: a scalar.
at::Tensor LabelLoss(const Gpt2Network& network, const at::Tensor& hidden,
                     const at::Tensor& targets, double scale);

}  // namespace graft
