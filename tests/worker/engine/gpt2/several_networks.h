#pragma once

// Networks of all kinds on the golden model, for tests of passes that serve several.

#include <ATen/ATen.h>

#include <vector>

#include "tests/worker/engine/golden.h"
#include "worker/engine/gpt2/network.h"

namespace graft {

inline at::Tensor RandomLike(const at::Tensor& tensor) { return at::randn_like(tensor).mul_(0.1); }

// The base's own, soft prompts of two lengths, a last block and a head of its own, a prefix.
inline std::vector<Gpt2Network> NetworksOfAllKinds(const Gpt2Model& model) {
  at::manual_seed(11);
  std::vector<Gpt2Network> networks(5, model.network());
  for (const auto& [index, length] : {std::pair(1, 3), std::pair(2, 1)}) {
    networks[index].soft_prompt =
        at::randn({length, model.network().width()}, model.network().wte.options());
  }
  Projection& own = networks[3].blocks.back().projections[kMlpCFc];
  own.weight = own.weight + RandomLike(own.weight);
  own.packed = {};
  networks[3].ln_f.weight = networks[3].ln_f.weight * 1.5;
  networks[3].lm_head = networks[3].lm_head + RandomLike(networks[3].lm_head);
  networks[3].head_packed = PackedWeight(networks[3].lm_head);
  const int64_t heads = model.network().num_heads;
  for (BlockTensors& block : networks[4].blocks) {
    for (at::Tensor* tensor : {&block.prefix.keys, &block.prefix.values}) {
      *tensor =
          at::randn({heads, 2, model.network().width() / heads}, model.network().wte.options());
    }
  }
  return networks;
}

}  // namespace graft
