#include "worker/engine/generation/beginnings.h"

#include <ATen/ops/full.h>

#include <algorithm>

namespace graft {

Begun Prefill(std::span<const Beginning> beginnings, int32_t pad_id, KvCache& cache) {
  std::vector<const Gpt2Network*> networks;
  for (const Beginning& beginning : beginnings) networks.push_back(beginning.network);
  Begun begun;
  begun.order = OrderBySharing(networks);
  std::vector<PromptRows> parts;
  for (const size_t i : begun.order) {
    if (parts.empty() || parts.back().network != networks[i])
      parts.push_back({networks[i], {}, {}});
    parts.back().lengths.push_back(static_cast<int64_t>(beginnings[i].ids.size()));
  }
  auto row = begun.order.begin();
  for (PromptRows& part : parts) {
    const int64_t longest = *std::max_element(part.lengths.begin(), part.lengths.end());
    const auto count = static_cast<int64_t>(part.lengths.size());
    at::Tensor ids = at::full({count, longest}, pad_id, at::kLong);
    int64_t* out = ids.mutable_data_ptr<int64_t>();
    for (int64_t i = 0; i < count; ++i, ++row, out += longest) {
      std::copy(beginnings[*row].ids.begin(), beginnings[*row].ids.end(), out);
    }
    part.ids = ids.to(part.network->device());
  }
  begun.logits = Prefill(parts, cache);
  return begun;
}

}  // namespace graft
