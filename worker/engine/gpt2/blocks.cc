#include "worker/engine/gpt2/blocks.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace graft {
namespace {

// The stream with what a block adds to it, whose memory is used where it is of the same type.
at::Tensor AddTo(const at::Tensor& stream, at::Tensor added) {
  return added.scalar_type() == stream.scalar_type() ? added.add_(stream) : stream + added;
}

// Rows of the stream [N, C], normalised by what `norm(network)` is.
template <typename Norm>
at::Tensor Normalise(std::span<const NetworkRows> rows, const at::Tensor& x, const Norm& norm) {
  return ForEachSharing(
      rows, x, [&](const Gpt2Network& network) { return norm(network).weight; },
      [&](std::span<const NetworkRows> same, const at::Tensor& part) {
        const Gpt2Network& network = *same[0].network;
        const LayerNormTensors& tensors = norm(network);
        return at::layer_norm(part, {part.size(1)}, tensors.weight, tensors.bias,
                              network.layer_norm_epsilon);
      });
}

// One of a block's projections: the product once for all rows that share its weight, then each
// network's adapter on its own rows.
at::Tensor Project(std::span<const NetworkRows> rows, const at::Tensor& x, int64_t layer,
                   int site) {
  const auto projection = [&](const Gpt2Network& network) -> const Projection& {
    return network.blocks[static_cast<size_t>(layer)].projections[static_cast<size_t>(site)];
  };
  return ForEachSharing(
      rows, x, [&](const Gpt2Network& network) { return projection(network).weight; },
      [&](std::span<const NetworkRows> same, const at::Tensor& part) {
        std::vector<AdaptedRows> adapted;
        int64_t begin = 0;
        for (const NetworkRows& of : same) {
          const auto& adapter = projection(*of.network).adapter;
          if (adapter != nullptr && of.count > 0) {
            adapted.push_back({adapter, begin, of.count, of.dropout});
          }
          begin += of.count;
        }
        return projection(*same[0].network).Forward(part, adapted, layer, site);
      });
}

at::Tensor ResidualDropout(std::span<const NetworkRows> rows, const at::Tensor& x, int64_t layer,
                           DropoutPlace place) {
  if (rows.size() == 1) return rows[0].dropout.Residual(x, layer, place);
  std::vector<int64_t> counts;
  for (const NetworkRows& of : rows) counts.push_back(of.count);
  std::vector<at::Tensor> parts = x.split_with_sizes(counts);
  bool changed = false;
  for (size_t i = 0; i < rows.size(); ++i) {
    const at::Tensor dropped = rows[i].dropout.Residual(parts[i], layer, place);
    changed = changed || !dropped.is_same(parts[i]);
    parts[i] = dropped;
  }
  return changed ? at::cat(parts) : x;
}

// How many of their products are by different weights.
int64_t Distance(const Gpt2Network& network, const Gpt2Network& other) {
  int64_t distance = !network.lm_head.is_same(other.lm_head);
  for (size_t layer = 0; layer < network.blocks.size(); ++layer) {
    for (size_t site = 0; site < kConv1dSites; ++site) {
      distance += !network.blocks[layer].projections[site].weight.is_same(
          other.blocks[layer].projections[site].weight);
    }
  }
  return distance;
}

}  // namespace

std::vector<size_t> OrderBySharing(std::span<const Gpt2Network* const> networks) {
  // What most of them share is the base's: who has it differs least from all others together.
  std::vector<const Gpt2Network*> kinds;
  std::vector<size_t> kind_of(networks.size());
  for (size_t i = 0; i < networks.size(); ++i) {
    const auto found = std::find(kinds.begin(), kinds.end(), networks[i]);
    kind_of[i] = static_cast<size_t>(found - kinds.begin());
    if (found == kinds.end()) kinds.push_back(networks[i]);
  }
  std::vector<int64_t> distance(kinds.size(), 0);
  for (size_t i = 0; i < kinds.size(); ++i) {
    for (const Gpt2Network* other : kinds) distance[i] += Distance(*kinds[i], *other);
  }
  std::vector<size_t> order(networks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(distance[kind_of[a]], kind_of[a]) <
           std::pair(distance[kind_of[b]], kind_of[b]);
  });
  return order;
}

at::Tensor RunBlocks(std::vector<NetworkRows>& rows, at::Tensor x, const ReadRows* read,
                     Attention& attention) {
  const int64_t layers = rows[0].network->num_layers();
  const auto block = [](const Gpt2Network& network, int64_t layer) -> const BlockTensors& {
    return network.blocks[static_cast<size_t>(layer)];
  };
  const auto select = [&](at::Tensor& tensor) { tensor = tensor.index_select(0, read->positions); };
  const auto take_counts = [&] {
    for (size_t i = 0; i < rows.size(); ++i) rows[i].count = read->counts[i];
  };
  for (int64_t layer = 0; layer < layers; ++layer) {
    const auto ln_1 = [&](const Gpt2Network& network) -> const LayerNormTensors& {
      return block(network, layer).ln_1;
    };
    const auto ln_2 = [&](const Gpt2Network& network) -> const LayerNormTensors& {
      return block(network, layer).ln_2;
    };
    at::Tensor attended =
        attention.Attend(layer, Project(rows, Normalise(rows, x, ln_1), layer, kAttnCAttn));
    if (read != nullptr && layer == layers - 1) {
      select(x);
      select(attended);
      take_counts();
    }
    at::Tensor projected = Project(rows, attended, layer, kAttnCProj);
    x = AddTo(x, ResidualDropout(rows, projected, layer, DropoutPlace::kAttentionOut));
    const at::Tensor wide =
        at::gelu(Project(rows, Normalise(rows, x, ln_2), layer, kMlpCFc), "tanh");
    projected = Project(rows, wide, layer, kMlpCProj);
    x = AddTo(x, ResidualDropout(rows, projected, layer, DropoutPlace::kMlpOut));
  }
  if (read != nullptr && layers == 0) {
    select(x);
    take_counts();
  }
  return x;
}

at::Tensor FinalNorm(std::span<const NetworkRows> rows, const at::Tensor& x) {
  const auto ln_f = [](const Gpt2Network& network) -> const LayerNormTensors& {
    return network.ln_f;
  };
  return Normalise(rows, x, ln_f).to(rows[0].network->dtype());
}

}  // namespace graft
