#include "worker/engine/generation/generation_run.h"

#include <ATen/ops/full.h>

#include <algorithm>

namespace graft {

std::vector<int32_t> GenerationRun::Beginning(int64_t row) const {
  const Prompt& prompt = prompts[static_cast<size_t>(row)];
  if (prompt.ids.empty() && prompt.network->num_prompt_rows() == 0) {
    return {options.end_of_text_id};
  }
  return {prompt.ids.begin(), prompt.ids.end()};
}

int64_t GenerationRun::Capacity(int64_t row) const {
  return prompts[static_cast<size_t>(row)].network->num_virtual_tokens() +
         static_cast<int64_t>(Beginning(row).size()) + options.max_new_tokens;
}

at::Tensor GenerationRun::Prefill(std::vector<int64_t>& rows, KvCache& cache) const {
  std::vector<const Gpt2Network*> networks;
  for (const int64_t row : rows) networks.push_back(prompts[static_cast<size_t>(row)].network);
  std::vector<int64_t> ordered;
  std::vector<PromptRows> parts;
  for (const size_t i : OrderBySharing(networks)) {
    ordered.push_back(rows[i]);
    if (parts.empty() || parts.back().network != networks[i])
      parts.push_back({networks[i], {}, {}});
    parts.back().lengths.push_back(static_cast<int64_t>(Beginning(rows[i]).size()));
  }
  rows = std::move(ordered);
  auto row = rows.begin();
  for (PromptRows& part : parts) {
    const int64_t longest = *std::max_element(part.lengths.begin(), part.lengths.end());
    const auto count = static_cast<int64_t>(part.lengths.size());
    at::Tensor ids = at::full({count, longest}, std::max(options.end_of_text_id, 0), at::kLong);
    int64_t* out = ids.mutable_data_ptr<int64_t>();
    for (int64_t i = 0; i < count; ++i, ++row, out += longest) {
      const std::vector<int32_t> beginning = Beginning(*row);
      std::copy(beginning.begin(), beginning.end(), out);
    }
    part.ids = ids.to(part.network->device());
  }
  return graft::Prefill(parts, cache);
}

}  // namespace graft
