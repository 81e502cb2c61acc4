#include "worker/engine/methods/soft_prompt.h"

#include <ATen/ATen.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr uint64_t kSoftPromptStream = 2;

class SoftPromptPart : public TrainedPart {
 public:
  void Bind(const TrainedTensors& tensors, Gpt2Network& network) const override {
    network.soft_prompt = tensors.InNetwork(kSoftPromptTensor);
  }
};

// The rows, as the part says.
absl::StatusOr<at::Tensor> PromptValues(const CreateContext& context) {
  const SoftPromptConfig& prompt = *context.method.Find<SoftPromptConfig>();
  using Init = SoftPromptConfig::Init;
  const Gpt2Network& network = context.base.network();
  const int64_t count = prompt.num_virtual_tokens;
  RETURN_IF_ERROR(CheckVirtualTokens(network, "method.soft_prompt.num_virtual_tokens", count));
  at::Generator generator = InitGenerator(context.seed, kSoftPromptStream);
  at::Tensor values;
  if (prompt.init == Init::kRandom || prompt.init == Init::kRandomUnit) {
    const double std = prompt.init == Init::kRandom ? 0.02 : 1;
    values = at::empty({count, network.width()}, at::kFloat).normal_(0, std, generator);
  } else {
    at::Tensor rows;
    if (prompt.init == Init::kVocabulary) {
      rows = at::randint(0, network.vocab_size(), {count}, generator, at::kLong);
    } else {
      if (prompt.init_text_ids.empty()) {
        return absl::InvalidArgumentError("method.soft_prompt.init_text: has no tokens");
      }
      std::vector<int64_t> ids;
      for (int64_t i = 0; i < count; ++i) {
        ids.push_back(prompt.init_text_ids[i % prompt.init_text_ids.size()]);
      }
      rows = at::tensor(ids, at::kLong);
    }
    ASSIGN_OR_RETURN(const at::Tensor words, context.base.Unrounded("wte.weight", network.wte));
    values = words.index_select(0, rows.to(network.device()));
  }
  return values;
}

}  // namespace

absl::Status TrainedSoftPrompt::ReadTexts(const Encode& encode, MethodConfig& method) const {
  SoftPromptConfig& prompt = method.Get<SoftPromptConfig>();
  absl::StatusOr<std::vector<int32_t>> ids = encode(prompt.init_text);
  if (!ids.ok()) return Annotate(ids.status(), "method.soft_prompt.init_text");
  prompt.init_text_ids = *std::move(ids);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TrainedPart>> TrainedSoftPrompt::Create(
    const CreateContext& context, TrainedTensors& tensors) const {
  ASSIGN_OR_RETURN(const at::Tensor values, PromptValues(context));
  tensors.Add(kSoftPromptTensor, values, name());
  return std::make_unique<SoftPromptPart>();
}

absl::StatusOr<std::unique_ptr<TrainedPart>> TrainedSoftPrompt::Load(
    const LoadContext& context, TrainedTensors& tensors) const {
  ASSIGN_OR_RETURN(const at::Tensor value, context.tensor(kSoftPromptTensor));
  tensors.Add(kSoftPromptTensor, value, name());
  return std::make_unique<SoftPromptPart>();
}

}  // namespace graft
