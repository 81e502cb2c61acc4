#include "worker/engine/generation/generation_run.h"

#include "worker/engine/generation/beginnings.h"

namespace graft {

std::vector<int32_t> GenerationRun::BeginningOf(int64_t row) const {
  const Prompt& prompt = prompts[static_cast<size_t>(row)];
  if (prompt.ids.empty() && prompt.network->num_prompt_rows() == 0) {
    return {options.end_of_text_id};
  }
  return {prompt.ids.begin(), prompt.ids.end()};
}

int64_t GenerationRun::Capacity(int64_t row) const {
  return prompts[static_cast<size_t>(row)].network->num_virtual_tokens() +
         static_cast<int64_t>(BeginningOf(row).size()) + options.max_new_tokens;
}

at::Tensor GenerationRun::Prefill(std::vector<int64_t>& rows, KvCache& cache) const {
  std::vector<Beginning> beginnings;
  for (const int64_t row : rows) {
    beginnings.push_back({prompts[static_cast<size_t>(row)].network, BeginningOf(row)});
  }
  const Begun begun = graft::Prefill(beginnings, pad_id(), cache);
  std::vector<int64_t> ordered;
  for (const size_t i : begun.order) ordered.push_back(rows[i]);
  rows = std::move(ordered);
  return begun.logits;
}

}  // namespace graft
