#include "worker/engine/gpt2/forward.h"

#include <ATen/ATen.h>

#include <vector>

#include "worker/engine/gpt2/blocks.h"
#include "worker/engine/gpt2/causal_attention.h"

namespace graft {

at::Tensor Embed(const Gpt2Network& network, const at::Tensor& ids, const Dropout& dropout) {
  const int64_t batch = ids.size(0);
  const int64_t prompt = network.num_prompt_rows();
  const int64_t length = prompt + ids.size(1);
  at::Tensor x = at::embedding(network.wte, ids).to(network.stream_dtype());
  if (prompt > 0) {
    x = at::cat({network.soft_prompt.unsqueeze(0).expand({batch, -1, -1}), x}, 1);
  }
  x = x + network.wpe.narrow(0, network.prefix_length(), length).to(network.stream_dtype());
  return dropout.Embedding(x).view({batch * length, network.width()});
}

at::Tensor HiddenStates(std::span<const TextBatch> texts) {
  std::vector<TextRows> text_rows;
  std::vector<NetworkRows> rows;
  std::vector<at::Tensor> embedded, positions;
  ReadRows read;
  int64_t begin = 0;
  for (const TextBatch& text : texts) {
    const Dropout dropout(text.dropout);
    const int64_t length = text.network->num_prompt_rows() + text.ids.size(1);
    const int64_t count = text.ids.size(0) * length;
    text_rows.push_back({text.network, text.ids.size(0), length, dropout});
    rows.push_back({text.network, count, dropout});
    embedded.push_back(Embed(*text.network, text.ids, dropout));
    positions.push_back(begin == 0 ? text.positions : text.positions + begin);
    read.counts.push_back(text.positions.size(0));
    begin += count;
  }
  const auto joined = [](const std::vector<at::Tensor>& parts) {
    return parts.size() == 1 ? parts[0] : at::cat(parts);
  };
  read.positions = joined(positions);
  CausalAttention attention(std::move(text_rows));
  at::Tensor x = joined(embedded);
  embedded.clear();
  return RunBlocks(rows, std::move(x), &read, attention);
}

at::Tensor HiddenStates(const Gpt2Network& network, const at::Tensor& ids,
                        const at::Tensor& positions, const DropoutPlan* dropout) {
  const TextBatch texts[] = {{&network, ids, positions, dropout}};
  return HiddenStates(texts);
}

at::Tensor Logits(std::span<const NetworkRows> rows, const at::Tensor& hidden) {
  return ForEachSharing(
      rows, FinalNorm(rows, hidden), [](const Gpt2Network& network) { return network.lm_head; },
      [](std::span<const NetworkRows> same, const at::Tensor& part) {
        const Gpt2Network& network = *same[0].network;
        return WideProduct(part, network.lm_head, network.head_packed);
      });
}

at::Tensor Logits(const Gpt2Network& network, const at::Tensor& hidden) {
  const NetworkRows rows[] = {{&network, hidden.size(0), {}}};
  return Logits(rows, hidden);
}

}  // namespace graft
