#include "worker/engine/generation/prompt_batch.h"

#include <ATen/ops/full.h>

#include <algorithm>

namespace graft {

std::vector<int32_t> PromptBatch::Beginning(size_t i) const {
  const std::vector<int32_t>& prompt = prompts[static_cast<size_t>(rows[i])];
  if (prompt.empty() && network.num_virtual_tokens() == 0) return {options.end_of_text_id};
  return prompt;
}

int64_t PromptBatch::Capacity() const {
  size_t longest = 0;
  for (size_t i = 0; i < rows.size(); ++i) longest = std::max(longest, Beginning(i).size());
  return network.num_virtual_tokens() + static_cast<int64_t>(longest) + options.max_new_tokens;
}

at::Tensor PromptBatch::Prefill(KvCache& cache) const {
  const int64_t longest = Capacity() - network.num_virtual_tokens() - options.max_new_tokens;
  at::Tensor ids =
      at::full({static_cast<int64_t>(rows.size()), longest}, options.end_of_text_id, at::kLong);
  int64_t* out = ids.mutable_data_ptr<int64_t>();
  std::vector<int64_t> lengths;
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<int32_t> beginning = Beginning(i);
    std::copy(beginning.begin(), beginning.end(), out);
    out += longest;
    lengths.push_back(static_cast<int64_t>(beginning.size()));
  }
  return graft::Prefill(network, ids.to(network.device()), lengths, cache);
}

}  // namespace graft
