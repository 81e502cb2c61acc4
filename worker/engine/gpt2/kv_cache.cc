#include "worker/engine/gpt2/kv_cache.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "worker/engine/gpt2/forward.h"
#include "worker/engine/gpt2/layers.h"

namespace graft {
namespace {

at::Tensor DeviceTensor(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

// Where each row may look: [B, 1, 1, longest] bool; nothing when all rows are equally long.
std::optional<at::Tensor> DecodeMask(const at::Tensor& last_positions, int64_t longest,
                                     bool equal) {
  if (equal) return std::nullopt;
  at::Tensor places = at::arange(longest, last_positions.options());
  return (places.unsqueeze(0) <= last_positions.unsqueeze(1)).unsqueeze(1).unsqueeze(1);
}

// Can the rows be moved down one after the other without overwriting one that is still needed?
bool MovesDownInOrder(std::span<const int64_t> rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < static_cast<int64_t>(i) || (i > 0 && rows[i] <= rows[i - 1])) return false;
  }
  return true;
}

}  // namespace

KvCache::KvCache(const Gpt2Network& network, int64_t batch, int64_t capacity) : lengths_(batch, 0) {
  const int64_t heads = network.num_heads;
  for (int64_t layer = 0; layer < network.num_layers(); ++layer) {
    for (auto* tensors : {&keys_, &values_}) {
      // Not empty: the cells that a shorter row never writes are masked, but NaN survives a mask.
      tensors->push_back(at::zeros({batch, heads, capacity, network.width() / heads},
                                   network.wte.options().requires_grad(false)));
    }
  }
}

void KvCache::Select(std::span<const int64_t> rows) {
  const bool in_order = MovesDownInOrder(rows);
  const std::vector<int64_t> indices(rows.begin(), rows.end());
  const int64_t used = lengths_.empty() ? 0 : *std::max_element(lengths_.begin(), lengths_.end());
  for (auto* tensors : {&keys_, &values_}) {
    for (at::Tensor& tensor : *tensors) {
      if (!in_order) {
        at::Tensor selected =
            tensor.narrow(2, 0, used).index_select(0, DeviceTensor(indices, tensor.device()));
        tensor.narrow(0, 0, indices.size()).narrow(2, 0, used).copy_(selected);
        continue;
      }
      for (size_t i = 0; i < indices.size(); ++i) {
        if (indices[i] == static_cast<int64_t>(i)) continue;
        const int64_t length = lengths_[indices[i]];
        tensor.select(0, i)
            .narrow(1, 0, length)
            .copy_(tensor.select(0, indices[i]).narrow(1, 0, length));
      }
    }
  }
  std::vector<int64_t> lengths;
  for (int64_t row : rows) lengths.push_back(lengths_[row]);
  lengths_ = std::move(lengths);
}

at::Tensor Prefill(const Gpt2Network& network, const at::Tensor& ids,
                   std::span<const int64_t> lengths, KvCache& cache) {
  const Dropout no_dropout(nullptr);
  const int64_t batch = ids.size(0);
  const int64_t prompt = network.num_virtual_tokens();
  const int64_t total = prompt + ids.size(1);
  std::vector<int64_t> last;
  for (int64_t row = 0; row < batch; ++row) {
    cache.lengths_[row] = prompt + lengths[row];
    last.push_back(row * total + cache.lengths_[row] - 1);
  }
  const at::Tensor positions = DeviceTensor(last, network.device());
  at::Tensor x = Embed(network, ids, no_dropout);
  for (int64_t layer = 0; layer < network.num_layers(); ++layer) {
    AttentionInputs inputs = ProjectAttention(network, x, batch, layer, no_dropout);
    cache.keys_[layer].narrow(0, 0, batch).narrow(2, 0, total).copy_(inputs.key);
    cache.values_[layer].narrow(0, 0, batch).narrow(2, 0, total).copy_(inputs.value);
    at::Tensor attention =
        at::scaled_dot_product_attention(inputs.query, inputs.key, inputs.value, {}, 0, true)
            .transpose(1, 2)
            .reshape(x.sizes());
    if (layer == network.num_layers() - 1) {
      x = x.index_select(0, positions);
      attention = attention.index_select(0, positions);
    }
    x = FinishBlock(network, x, attention, layer, no_dropout);
  }
  return Logits(network, x);
}

at::Tensor DecodeStep(const Gpt2Network& network, const at::Tensor& ids, KvCache& cache) {
  const Dropout no_dropout(nullptr);
  const int64_t batch = ids.size(0);
  const int64_t longest = *std::max_element(cache.lengths_.begin(), cache.lengths_.end()) + 1;
  const bool equal = std::all_of(cache.lengths_.begin(), cache.lengths_.end(),
                                 [&](int64_t length) { return length == longest - 1; });
  const at::Tensor places = DeviceTensor(cache.lengths_, network.device());
  const std::optional<at::Tensor> mask = DecodeMask(places, longest, equal);
  const at::Tensor rows = at::arange(batch, places.options()).unsqueeze(1);
  const at::Tensor heads = at::arange(network.num_heads, places.options()).unsqueeze(0);
  const c10::List<std::optional<at::Tensor>> cells({rows, heads, places.unsqueeze(1)});

  at::Tensor x = at::embedding(network.wte, ids).to(network.stream_dtype()) +
                 at::embedding(network.wpe, places).to(network.stream_dtype());
  for (int64_t layer = 0; layer < network.num_layers(); ++layer) {
    AttentionInputs inputs = ProjectAttention(network, x, batch, layer, no_dropout);
    cache.keys_[layer].index_put_(cells, inputs.key.squeeze(2));
    cache.values_[layer].index_put_(cells, inputs.value.squeeze(2));
    at::Tensor attention = at::scaled_dot_product_attention(
        inputs.query, cache.keys_[layer].narrow(0, 0, batch).narrow(2, 0, longest),
        cache.values_[layer].narrow(0, 0, batch).narrow(2, 0, longest), mask);
    x = FinishBlock(network, x, attention.reshape(x.sizes()), layer, no_dropout);
  }
  for (int64_t& length : cache.lengths_) ++length;
  return Logits(network, x);
}

}  // namespace graft
