#include "worker/engine/training/pass.h"

#include "worker/engine/gpt2/forward.h"

namespace graft {

at::Tensor LossesWithGradients(const std::vector<MicroBatch>& batches, std::vector<size_t>& order) {
  std::vector<const Gpt2Network*> networks;
  for (const MicroBatch& batch : batches) networks.push_back(batch.network);
  order = OrderBySharing(networks);
  std::vector<TextBatch> texts;
  std::vector<Labels> labels;
  for (const size_t i : order) {
    const MicroBatch& of = batches[i];
    texts.push_back({of.network, of.batch.ids, of.batch.positions, &of.dropout});
    labels.push_back({of.network, of.batch.targets, of.scale});
  }
  const at::Tensor losses = LabelLosses(labels, HiddenStates(texts));
  losses.sum().backward();
  return losses.data();
}

}  // namespace graft
