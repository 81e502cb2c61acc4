#include "worker/engine/methods/base_weights.h"

#include <ATen/ATen.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/methods/peft_modules.h"

namespace graft {
namespace {

// In the place of the base's.
class BaseWeights : public TrainedPart {
 public:
  explicit BaseWeights(bool head_is_tied) : head_is_tied_(head_is_tied) {}

  void Bind(const TrainedTensors& tensors, Gpt2Network& network) const override {
    for (const NamedTensor& named : NamedTensors(network, /*with_lm_head=*/true)) {
      const at::Tensor own = tensors.InNetwork(named.name);
      if (own.defined()) *named.tensor = own;
    }
    if (head_is_tied_) network.lm_head = network.wte;
  }

 private:
  const bool head_is_tied_;
};

}  // namespace

absl::Status AddBaseTensors(const Gpt2Model& base, bool with_lm_head, absl::string_view method,
                            const std::function<bool(const std::string& name)>& trains,
                            TrainedTensors& tensors) {
  Gpt2Network network = base.network();
  for (const NamedTensor& named : NamedTensors(network, with_lm_head)) {
    if (!trains(named.name)) continue;
    ASSIGN_OR_RETURN(const at::Tensor initial, base.Unrounded(named.name, *named.tensor));
    tensors.Add(named.name, initial, method);
  }
  return absl::OkStatus();
}

absl::Status TrainedLastLayers::Check(const CreateContext& context) const {
  const int64_t layers = context.base.network().num_layers();
  const int64_t num_layers = context.method.Find<LastLayersConfig>()->num_layers;
  if (num_layers >= 0 && num_layers <= layers) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("method.last_layers.num_layers: ", num_layers, " is not in 0..", layers));
}

absl::StatusOr<std::unique_ptr<TrainedPart>> TrainedLastLayers::Create(
    const CreateContext& context, TrainedTensors& tensors) const {
  const LastLayersConfig& last = *context.method.Find<LastLayersConfig>();
  const int64_t num_layers = context.base.network().num_layers();
  const auto trains = [&](const std::string& name) {
    if (name == "lm_head.weight") return last.include_lm_head;
    if (absl::StartsWith(name, "ln_f.")) return last.include_final_norm;
    for (int64_t layer = num_layers - last.num_layers; layer < num_layers; ++layer) {
      if (absl::StartsWith(name, absl::StrCat("h.", layer, "."))) return true;
    }
    return false;
  };
  // A tied head becomes a copy of its own.
  RETURN_IF_ERROR(AddBaseTensors(context.base, /*with_lm_head=*/true, name(), trains, tensors));
  return std::make_unique<BaseWeights>(/*head_is_tied=*/false);
}

absl::StatusOr<std::unique_ptr<TrainedPart>> TrainedLastLayers::Load(
    const LoadContext& context, TrainedTensors& tensors) const {
  const Gpt2Config& config = context.base.config();
  for (const TensorShape& shape :
       SavedModuleTensors(SavedModules(context.parts, config.n_layer), config)) {
    ASSIGN_OR_RETURN(const at::Tensor value, context.tensor(shape.name));
    tensors.Add(shape.name, value, name());
  }
  return std::make_unique<BaseWeights>(/*head_is_tied=*/false);
}

absl::StatusOr<std::unique_ptr<TrainedPart>> TrainedFull::Create(const CreateContext& context,
                                                                 TrainedTensors& tensors) const {
  const bool tied = context.base.head_is_tied();
  RETURN_IF_ERROR(AddBaseTensors(
      context.base, !tied, name(), [](const std::string&) { return true; }, tensors));
  return std::make_unique<BaseWeights>(tied);
}

absl::StatusOr<std::unique_ptr<TrainedPart>> TrainedFull::Load(const LoadContext&,
                                                               TrainedTensors&) const {
  return absl::UnimplementedError("a full job leaves a model, no adapter");
}

}  // namespace graft
