#include "worker/engine/methods/dora.h"

#include <ATen/ATen.h>

#include <utility>

#include "common/base/status_macros.h"
#include "worker/engine/methods/dora_projection.h"
#include "worker/engine/methods/lora.h"

namespace graft {
namespace {

class DoraPart : public LoraPart {
 public:
  using LoraPart::LoraPart;

  void Bind(const TrainedTensors& tensors, Gpt2Network& network) const override {
    for (const LoraPlace& place : places()) {
      Projection& projection = network.blocks[place.layer].projections[place.site];
      const std::string a = place.path() + ".lora_A", b = place.path() + ".lora_B";
      projection.adapter = std::make_shared<DoraProjection>(
          tensors.InNetwork(a), tensors.InNetwork(b), tensors.Own(place.path() + kMagnitudeSuffix),
          DoraProjection::Length(projection.weight, tensors.Own(a), tensors.Own(b), place.scale),
          place.scale, place.dropout);
    }
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<TrainedPart>> TrainedDora::Create(const CreateContext& context,
                                                                 TrainedTensors& tensors) const {
  const DoraConfig& dora = *context.method.Find<DoraConfig>();
  ASSIGN_OR_RETURN(const std::vector<FreshLora> made, MakeLora(dora, context));
  std::vector<LoraPlace> places;
  for (const FreshLora& fresh : made) {
    const std::string path = fresh.place.path();
    const at::Tensor& weight =
        context.base.network().blocks[fresh.place.layer].projections[fresh.place.site].weight;
    const at::ScalarType type = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    tensors.Add(path + ".lora_A", fresh.a, name());
    tensors.Add(path + ".lora_B", at::zeros({weight.size(1), dora.rank}), name());
    tensors.Add(path + kMagnitudeSuffix, weight.to(type).norm(2, 0), name());
    places.push_back(fresh.place);
  }
  return std::make_unique<DoraPart>(std::move(places), dora);
}

absl::StatusOr<std::unique_ptr<TrainedPart>> TrainedDora::Load(const LoadContext& context,
                                                               TrainedTensors& tensors) const {
  const DoraConfig& dora = *context.parts.Find<DoraConfig>();
  ASSIGN_OR_RETURN(std::vector<LoraPlace> places, LoraPlaces(dora));
  for (const LoraPlace& place : places) {
    for (const char* suffix : {".lora_A", ".lora_B", kMagnitudeSuffix}) {
      ASSIGN_OR_RETURN(const at::Tensor value, context.tensor(place.path() + suffix));
      tensors.Add(place.path() + suffix, value, name());
    }
  }
  return std::make_unique<DoraPart>(std::move(places), dora);
}

}  // namespace graft
