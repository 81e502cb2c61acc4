#include "worker/engine/gpt2/kv_cache.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "worker/engine/gpt2/blocks.h"
#include "worker/engine/gpt2/causal_attention.h"
#include "worker/engine/gpt2/forward.h"

namespace graft {
namespace {

at::Tensor DeviceTensor(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

// Can each row be put into its place, one after the other, without overwriting one that is still
// needed?
bool CanMoveInTurn(std::span<const int64_t> rows, int64_t slots) {
  std::vector<size_t> last_use(static_cast<size_t>(slots), 0);
  for (size_t i = 0; i < rows.size(); ++i) last_use[static_cast<size_t>(rows[i])] = i;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] != static_cast<int64_t>(i) && last_use[i] > i) return false;
  }
  return true;
}

// Writes to cells that are all different, for which no sorting is needed to get the same every
// time. LibTorch's deterministic mode would sort them, on a GPU.
class UniqueCells {
 public:
  UniqueCells() : deterministic_(at::globalContext().deterministicAlgorithms()) {
    if (deterministic_) at::globalContext().setDeterministicAlgorithms(false, false);
  }
  ~UniqueCells() {
    if (deterministic_) at::globalContext().setDeterministicAlgorithms(true, false);
  }

 private:
  const bool deterministic_;
};

// The newest position of each row, which it looks at, and at all before it.
class DecodeAttention : public Attention {
 public:
  // All of `rows` first rows of the cache's tensors, in their order; `order` and `places` lead from
  // the pass's rows to them and back, undefined where they are the same.
  DecodeAttention(const std::vector<at::Tensor>& keys, const std::vector<at::Tensor>& values,
                  const std::vector<int64_t>& lengths, int64_t heads, const at::Tensor& order,
                  const at::Tensor& places)
      : keys_(keys),
        values_(values),
        rows_(static_cast<int64_t>(lengths.size())),
        longest_(*std::max_element(lengths.begin(), lengths.end()) + 1),
        heads_(heads),
        order_(order),
        places_(places) {
    const bool are_equal = std::all_of(lengths.begin(), lengths.end(),
                                       [&](int64_t length) { return length + 1 == longest_; });
    if (are_equal) return;
    const at::Tensor newest = DeviceTensor(lengths, keys[0].device());
    newest_ = newest.unsqueeze(1);
    row_ = at::arange(rows_, newest.options()).unsqueeze(1);
    head_ = at::arange(heads, newest.options()).unsqueeze(0);
    mask_ =
        (at::arange(longest_, newest.options()).unsqueeze(0) <= newest_).unsqueeze(1).unsqueeze(1);
  }

  at::Tensor Attend(int64_t layer, const at::Tensor& qkv) override {
    const int64_t width = qkv.size(1) / 3;
    const at::Tensor in_slots = places_.defined() ? qkv.index_select(0, places_) : qkv;
    const std::vector<at::Tensor> parts =
        in_slots.view({rows_, 3, heads_, width / heads_}).unbind(1);
    const at::Tensor keys = Write(keys_[static_cast<size_t>(layer)], parts[1]);
    const at::Tensor values = Write(values_[static_cast<size_t>(layer)], parts[2]);
    const at::Tensor attended =
        at::scaled_dot_product_attention(parts[0].unsqueeze(2), keys, values, mask_)
            .reshape({rows_, width});
    return order_.defined() ? attended.index_select(0, order_) : attended;
  }

 private:
  // Puts newest [rows, H, C / H] into the cache; returns what the rows may look at.
  at::Tensor Write(const at::Tensor& cache, const at::Tensor& newest) const {
    const at::Tensor seen = cache.narrow(0, 0, rows_).narrow(2, 0, longest_);
    if (!mask_) {
      seen.select(2, longest_ - 1).copy_(newest);
      return seen;
    }
    const UniqueCells unique_cells;
    const c10::List<std::optional<at::Tensor>> cells({row_, head_, newest_});
    cache.index_put_(cells, newest);
    return seen;
  }

  const std::vector<at::Tensor>& keys_;
  const std::vector<at::Tensor>& values_;
  const int64_t rows_;
  const int64_t longest_;  // Positions of the longest row, the newest included.
  const int64_t heads_;
  const at::Tensor order_, places_;
  at::Tensor newest_, row_, head_;  // The cells to write.
  std::optional<at::Tensor> mask_;  // [rows, 1, 1, longest] bool; none when all are equally long.
};

}  // namespace

KvCache::KvCache(const Gpt2Network& network, int64_t slots, int64_t capacity) : slots_(slots) {
  const int64_t heads = network.num_heads;
  for (int64_t layer = 0; layer < network.num_layers(); ++layer) {
    for (auto* tensors : {&keys_, &values_}) {
      // Not empty: what a row has not written is masked, but NaN survives a mask. For the same
      // reason a row that comes finds nothing of the slot's earlier ones behind it (ClearBehind).
      tensors->push_back(at::zeros({slots, heads, capacity, network.width() / heads},
                                   network.wte.options().requires_grad(false)));
    }
  }
}

void KvCache::Reserve(int64_t slots, int64_t capacity) {
  slots = std::max(slots, slots_);
  capacity = std::max(capacity, this->capacity());
  if (slots == slots_ && capacity == this->capacity()) return;
  if (num_rows() == 0) reached_ = 0;
  for (auto* tensors : {&keys_, &values_}) {
    for (at::Tensor& tensor : *tensors) {
      const at::Tensor grown =
          at::zeros({slots, tensor.size(1), capacity, tensor.size(3)}, tensor.options());
      const auto filled = [&](const at::Tensor& of) {
        return of.narrow(0, 0, num_rows()).narrow(2, 0, reached_);
      };
      filled(grown).copy_(filled(tensor));
      tensor = grown;
    }
  }
  slots_ = slots;
}

void KvCache::Select(std::span<const int64_t> rows) {
  const bool in_turn = CanMoveInTurn(rows, slots_);
  const std::vector<int64_t> indices(rows.begin(), rows.end());
  const at::Tensor places = in_turn ? at::Tensor() : DeviceTensor(indices, keys_[0].device());
  const int64_t used = lengths_.empty() ? 0 : *std::max_element(lengths_.begin(), lengths_.end());
  for (auto* tensors : {&keys_, &values_}) {
    for (at::Tensor& tensor : *tensors) {
      if (!in_turn) {
        at::Tensor selected = tensor.narrow(2, 0, used).index_select(0, places);
        tensor.narrow(0, 0, selected.size(0)).narrow(2, 0, used).copy_(selected);
        continue;
      }
      for (size_t i = 0; i < indices.size(); ++i) {
        const auto to = static_cast<int64_t>(i);
        if (indices[i] == to) continue;
        tensor.select(0, to)
            .narrow(1, 0, length(indices[i]))
            .copy_(tensor.select(0, indices[i]).narrow(1, 0, length(indices[i])));
      }
    }
  }
  if (!in_turn) ClearBehind(0, static_cast<int64_t>(indices.size()), used);
  for (size_t i = 0; in_turn && i < indices.size(); ++i) {
    const auto to = static_cast<int64_t>(i);
    if (indices[i] != to) ClearBehind(to, 1, length(indices[i]));
  }
  std::vector<int64_t> lengths;
  std::vector<const Gpt2Network*> networks;
  for (const int64_t row : rows) {
    lengths.push_back(length(row));
    networks.push_back(networks_[static_cast<size_t>(row)]);
  }
  lengths_ = std::move(lengths);
  if (networks == networks_) return;
  networks_ = std::move(networks);
  Arrange();
}

void KvCache::ClearBehind(int64_t first, int64_t count, int64_t length) {
  if (length >= reached_) return;
  for (auto* tensors : {&keys_, &values_}) {
    for (at::Tensor& tensor : *tensors) {
      tensor.narrow(0, first, count).narrow(2, length, reached_ - length).zero_();
    }
  }
}

void KvCache::Arrange() {
  shared_rows_.clear();
  order_ = places_ = at::Tensor();
  const std::vector<size_t> order = OrderBySharing(networks_);
  std::vector<int64_t> indices(order.begin(), order.end()), inverse(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    inverse[order[i]] = static_cast<int64_t>(i);
    const Gpt2Network* network = networks_[order[i]];
    if (shared_rows_.empty() || shared_rows_.back().network != network) {
      shared_rows_.push_back({network, 0, {}});
    }
    ++shared_rows_.back().count;
  }
  if (std::is_sorted(indices.begin(), indices.end())) return;
  order_ = DeviceTensor(indices, keys_[0].device());
  places_ = DeviceTensor(inverse, keys_[0].device());
}

at::Tensor Prefill(std::span<const PromptRows> prompts, KvCache& cache) {
  std::vector<NetworkRows> rows;
  std::vector<TextRows> texts;
  std::vector<at::Tensor> embedded;
  std::vector<int64_t> last;
  ReadRows read;
  const int64_t rows_before = cache.num_rows();
  int64_t begin = 0, reached = cache.reached_;
  for (const PromptRows& part : prompts) {
    const Gpt2Network& network = *part.network;
    const int64_t batch = part.ids.size(0);
    const int64_t total = network.num_prompt_rows() + part.ids.size(1);
    for (int64_t row = 0; row < batch; ++row) {
      const int64_t length = network.num_prompt_rows() + part.lengths[static_cast<size_t>(row)];
      last.push_back(begin + row * total + length - 1);
      cache.lengths_.push_back(network.prefix_length() + length);
      cache.networks_.push_back(part.network);
    }
    const int64_t written = network.prefix_length() + total;  // Pads of a batch are written, too.
    cache.ClearBehind(cache.num_rows() - batch, batch, written);
    reached = std::max(reached, written);
    rows.push_back({part.network, batch * total, {}});
    texts.push_back({part.network, batch, total, {}});
    embedded.push_back(Embed(network, part.ids, Dropout()));
    read.counts.push_back(batch);
    begin += batch * total;
  }
  cache.reached_ = reached;
  cache.Arrange();
  read.positions = DeviceTensor(last, embedded[0].device());
  CausalAttention attention(
      std::move(texts),
      [&](int64_t layer, int64_t first, const at::Tensor& keys, const at::Tensor& values) {
        const auto keep = [&](const at::Tensor& kept, const at::Tensor& of) {
          kept.narrow(0, rows_before + first, of.size(0)).narrow(2, 0, of.size(2)).copy_(of);
        };
        keep(cache.keys_[static_cast<size_t>(layer)], keys);
        keep(cache.values_[static_cast<size_t>(layer)], values);
      });
  at::Tensor x = embedded.size() == 1 ? embedded[0] : at::cat(embedded);
  embedded.clear();
  x = RunBlocks(rows, std::move(x), &read, attention);
  return Logits(rows, x);
}

at::Tensor DecodeStep(const at::Tensor& ids, KvCache& cache) {
  const Gpt2Network& base = *cache.networks_[0];
  std::vector<NetworkRows> rows = cache.shared_rows_;
  const at::Tensor positions = DeviceTensor(cache.lengths_, ids.device());
  const auto in_order = [&](const at::Tensor& tensor) {
    return cache.order_.defined() ? tensor.index_select(0, cache.order_) : tensor;
  };
  const auto embed = [&](const at::Tensor& indices, auto table) {
    return ForEachSharing(
        rows, in_order(indices), table,
        [&](std::span<const NetworkRows> same, const at::Tensor& part) {
          return at::embedding(table(*same[0].network), part).to(base.stream_dtype());
        });
  };
  at::Tensor x = embed(ids, [](const Gpt2Network& network) { return network.wte; }) +
                 embed(positions, [](const Gpt2Network& network) { return network.wpe; });
  DecodeAttention attention(cache.keys_, cache.values_, cache.lengths_, base.num_heads,
                            cache.order_, cache.places_);
  x = RunBlocks(rows, std::move(x), nullptr, attention);
  for (int64_t& length : cache.lengths_) cache.reached_ = std::max(cache.reached_, ++length);
  const at::Tensor logits = Logits(rows, x);
  return cache.places_.defined() ? logits.index_select(0, cache.places_) : logits;
}

}  // namespace graft
