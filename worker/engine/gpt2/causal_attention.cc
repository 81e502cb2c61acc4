#include "worker/engine/gpt2/causal_attention.h"

#include <ATen/ATen.h>

#include <optional>

#include "worker/engine/gpt2/tiled_attention.h"

namespace graft {

at::Tensor CausalAttention::Attend(int64_t layer, const at::Tensor& qkv) {
  const auto is_plain = [&](const TextRows& texts) {
    return texts.dropout.attention_rate(layer) == 0 && texts.network->prefix_length() == 0;
  };
  std::vector<TextRows> groups;
  for (const TextRows& texts : texts_) {
    if (!groups.empty() && is_plain(groups.back()) && is_plain(texts) &&
        groups.back().length == texts.length) {
      groups.back().batch += texts.batch;
    } else {
      groups.push_back(texts);
    }
  }
  if (groups.size() == 1) return AttendTogether(layer, groups[0], 0, qkv);
  std::vector<int64_t> counts;
  for (const TextRows& group : groups) counts.push_back(group.batch * group.length);
  const std::vector<at::Tensor> parts = qkv.split_with_sizes(counts);
  std::vector<at::Tensor> results;
  int64_t first = 0;
  for (size_t i = 0; i < groups.size(); ++i) {
    results.push_back(AttendTogether(layer, groups[i], first, parts[i]));
    first += groups[i].batch;
  }
  return at::cat(results);
}

at::Tensor CausalAttention::AttendTogether(int64_t layer, const TextRows& texts, int64_t first,
                                           const at::Tensor& qkv) {
  const int64_t heads = texts.network->num_heads;
  const int64_t width = qkv.size(1) / 3;
  const double rate = texts.dropout.attention_rate(layer);
  const int64_t prefix = texts.network->prefix_length();
  const std::vector<at::Tensor> parts =
      qkv.view({texts.batch, texts.length, 3, heads, width / heads}).unbind(2);
  const at::Tensor query = parts[0].transpose(1, 2);
  at::Tensor keys = parts[1].transpose(1, 2), values = parts[2].transpose(1, 2);
  std::optional<at::Tensor> mask;
  if (prefix > 0) {
    const AttentionPrefix& own = texts.network->blocks[static_cast<size_t>(layer)].prefix;
    const auto before = [&](const at::Tensor& tensor, const at::Tensor& rest) {
      return at::cat({tensor.unsqueeze(0).expand({texts.batch, -1, -1, -1}), rest}, 2);
    };
    keys = before(own.keys, keys);
    values = before(own.values, values);
    mask = PrefixMask(prefix, texts.length, qkv.device());
  }
  if (on_keys_) on_keys_(layer, first, keys, values);
  if (prefix == 0 && rate == 0 && HasTiledAttention(qkv)) {
    return TiledAttention(qkv, texts.batch, texts.length, heads);
  }
  if (rate > 0) texts.dropout.SeedAttention(qkv.device(), layer);
  return at::scaled_dot_product_attention(query, keys, values, mask, rate,
                                          /*is_causal=*/!mask.has_value())
      .transpose(1, 2)
      .reshape({qkv.size(0), width});
}

// [length, prefix + length] bool: where a position may look.
const at::Tensor& CausalAttention::PrefixMask(int64_t prefix, int64_t length, at::Device device) {
  at::Tensor& mask = prefix_masks_[{prefix, length}];
  if (!mask.defined()) {
    mask = at::ones({length, prefix + length}, at::TensorOptions(at::kBool).device(device))
               .tril(prefix);
  }
  return mask;
}

}  // namespace graft
