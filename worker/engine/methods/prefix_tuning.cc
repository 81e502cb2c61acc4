#include "worker/engine/methods/prefix_tuning.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr uint64_t kPrefixStream = 3;
// Of the random values that it begins with, as PEFT's.
constexpr double kPrefixStd = 1;

class PrefixPart : public TrainedPart {
 public:
  void Bind(const TrainedTensors& tensors, Gpt2Network& network) const override {
    const at::Tensor rows = tensors.InNetwork(kPrefixTensor);
    const int64_t heads = network.num_heads;
    const at::Tensor parts =
        rows.view({rows.size(0), 2 * network.num_layers(), heads, network.width() / heads})
            .permute({1, 2, 0, 3});
    for (int64_t layer = 0; layer < network.num_layers(); ++layer) {
      network.blocks[static_cast<size_t>(layer)].prefix = {parts[2 * layer], parts[2 * layer + 1]};
    }
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<TrainedPart>> TrainedPrefixTuning::Create(
    const CreateContext& context, TrainedTensors& tensors) const {
  const Gpt2Network& network = context.base.network();
  const int64_t count = context.method.Find<PrefixTuningConfig>()->num_virtual_tokens;
  RETURN_IF_ERROR(CheckVirtualTokens(network, "method.prefix_tuning.num_virtual_tokens", count));
  at::Generator generator = InitGenerator(context.seed, kPrefixStream);
  tensors.Add(kPrefixTensor,
              at::empty({count, 2 * network.num_layers() * network.width()}, at::kFloat)
                  .normal_(0, kPrefixStd, generator),
              name());
  return std::make_unique<PrefixPart>();
}

absl::StatusOr<std::unique_ptr<TrainedPart>> TrainedPrefixTuning::Load(
    const LoadContext& context, TrainedTensors& tensors) const {
  ASSIGN_OR_RETURN(const at::Tensor value, context.tensor(kPrefixTensor));
  tensors.Add(kPrefixTensor, value, name());
  return std::make_unique<PrefixPart>();
}

}  // namespace graft
