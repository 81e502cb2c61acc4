#pragma once

// The pieces of a GPT-2 block, shared by the training pass (forward.cc) and generation
// (kv_cache.cc). Activations are flattened to [rows, width].

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "worker/engine/gpt2/forward.h"
#include "worker/engine/gpt2/network.h"

namespace graft {

// What a dropout mask is for; with the layer it names a stream of random numbers.
enum class DropoutPlace { kEmbedding, kAttention, kAttentionOut, kMlpOut, kLora };

// Dropout of one training pass. Made of nullptr it does nothing anywhere.
class Dropout {
 public:
  explicit Dropout(const DropoutPlan* plan) : plan_(plan) {}

  bool active() const { return plan_ != nullptr; }
  double attention_rate(int64_t layer) const;
  // Each returns x itself where the rate is 0.
  at::Tensor Embedding(const at::Tensor& x) const;
  at::Tensor Residual(const at::Tensor& x, int64_t layer, DropoutPlace place) const;
  at::Tensor Lora(const at::Tensor& x, double rate, int64_t layer, int site) const;
  // Attention kernels draw from the device's default generator: seeds it for this layer.
  void SeedAttention(at::Device device, int64_t layer) const;

 private:
  uint64_t Key(DropoutPlace place, int64_t layer, int site) const;
  at::Tensor Apply(const at::Tensor& x, double rate, uint64_t key) const;

  const DropoutPlan* plan_;
};

// Rows of the stream [N, C], normalised, as the products want them: in the network's own type.
at::Tensor ApplyLayerNorm(const Gpt2Network& network, const at::Tensor& x,
                          const LayerNormTensors& norm);

// x [N, in] → [N, out], with the site's LoRA if it has one.
at::Tensor ApplyConv1d(const at::Tensor& x, const BlockTensors& block, int site, int64_t layer,
                       const Dropout& dropout);

// x + c_proj(attention), then x + mlp(ln_2(x)): what follows attention in a block. Both [N, C].
at::Tensor FinishBlock(const Gpt2Network& network, const at::Tensor& x, const at::Tensor& attention,
                       int64_t layer, const Dropout& dropout);

// Query, key and value of [B * S, C] inputs, each [B, H, S, C / H] and a view of one tensor.
struct AttentionInputs {
  at::Tensor query, key, value;
};
AttentionInputs ProjectAttention(const Gpt2Network& network, const at::Tensor& x, int64_t batch,
                                 int64_t layer, const Dropout& dropout);

// Virtual tokens and text with their positions: ids [B, T] → [B * (P + T), C].
at::Tensor Embed(const Gpt2Network& network, const at::Tensor& ids, const Dropout& dropout);

}  // namespace graft
