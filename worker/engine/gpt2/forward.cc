#include "worker/engine/gpt2/forward.h"

#include <ATen/ATen.h>

#include "worker/engine/gpt2/layers.h"

namespace graft {

at::Tensor HiddenStates(const Gpt2Network& network, const at::Tensor& ids,
                        const at::Tensor& positions, const DropoutPlan* plan) {
  const Dropout dropout(plan);
  const int64_t batch = ids.size(0);
  at::Tensor x = Embed(network, ids, dropout);
  for (int64_t layer = 0; layer < network.num_layers(); ++layer) {
    AttentionInputs inputs = ProjectAttention(network, x, batch, layer, dropout);
    const double rate = dropout.attention_rate(layer);
    if (rate > 0) dropout.SeedAttention(x.device(), layer);
    at::Tensor attention =
        at::scaled_dot_product_attention(inputs.query, inputs.key, inputs.value,
                                         /*attn_mask=*/{}, rate, /*is_causal=*/true)
            .transpose(1, 2)
            .reshape(x.sizes());
    if (layer == network.num_layers() - 1) {
      // Nothing reads the last block's output elsewhere: the rest of it runs on these rows alone.
      x = x.index_select(0, positions);
      attention = attention.index_select(0, positions);
    }
    x = FinishBlock(network, x, attention, layer, dropout);
  }
  return network.num_layers() > 0 ? x : x.index_select(0, positions);
}

at::Tensor Logits(const Gpt2Network& network, const at::Tensor& hidden) {
  const at::Tensor normed = ApplyLayerNorm(network, hidden, network.ln_f);
  return WideProduct(normed, network.lm_head, network.head_packed);
}

}  // namespace graft
