#include "worker/engine/methods/lora.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/methods/lora_projection.h"

namespace graft {
namespace {

constexpr uint64_t kLoraStream = 1;

std::string ModulePath(int64_t layer, int site) {
  return absl::StrCat("h.", layer, ".", Conv1dSiteName(site));
}

bool MatchesTarget(int64_t layer, int site, const std::string& target) {
  return TargetMatches(target, absl::StrCat("transformer.", ModulePath(layer, site)));
}

absl::Status CheckTargets(const LoraConfig& lora, int64_t num_layers) {
  if (lora.target_modules.empty()) {
    return absl::InvalidArgumentError("method.lora.target_modules: names no layer");
  }
  for (const std::string& target : lora.target_modules) {
    bool found = false;
    for (int64_t layer = 0; layer < num_layers; ++layer) {
      for (int site = 0; site < kConv1dSites; ++site) {
        found = found || MatchesTarget(layer, site, target);
      }
    }
    if (!found) {
      return absl::InvalidArgumentError(
          absl::StrCat("method.lora.target_modules: the model has no layer \"", target,
                       "\"; valid are c_attn, c_proj, attn.c_proj, c_fc, mlp.c_proj"));
    }
  }
  for (int64_t layer : lora.layers) {
    if (layer < 0 || layer >= num_layers) {
      return absl::InvalidArgumentError(
          absl::StrCat("method.lora.layers: ", layer, " is not in 0..", num_layers - 1));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int> SiteOf(const LoraModule& module) {
  for (int site = 0; site < kConv1dSites; ++site) {
    if (module.name == absl::StrCat("h.", module.layer, ".", Conv1dSiteName(site))) return site;
  }
  return absl::UnimplementedError(absl::StrCat("LoRA on ", module.name, " is not supported"));
}

}  // namespace

std::string LoraPlace::path() const { return ModulePath(layer, site); }

absl::StatusOr<std::vector<FreshLora>> MakeLora(const LoraConfig& lora,
                                                const CreateContext& context) {
  const Gpt2Network& network = context.base.network();
  RETURN_IF_ERROR(CheckTargets(lora, network.num_layers()));
  at::Generator generator = InitGenerator(context.seed, kLoraStream);
  std::vector<FreshLora> made;
  for (int64_t layer = 0; layer < context.first_whole_block; ++layer) {
    if (!lora.layers.empty() && std::count(lora.layers.begin(), lora.layers.end(), layer) == 0) {
      continue;
    }
    for (int site = 0; site < kConv1dSites; ++site) {
      const auto matches = [&](const std::string& t) { return MatchesTarget(layer, site, t); };
      if (std::none_of(lora.target_modules.begin(), lora.target_modules.end(), matches)) continue;
      const at::Tensor& weight = network.blocks[layer].projections[site].weight;
      const int64_t largest = std::min(weight.size(0), weight.size(1));
      if (lora.rank < 1 || lora.rank > largest) {
        return absl::InvalidArgumentError(absl::StrCat(
            "method.lora.rank: ", lora.rank, " is not in 1..", largest, ", as ",
            ModulePath(layer, site), " is [", weight.size(0), ", ", weight.size(1), "]"));
      }
      // kaiming_uniform_(a = sqrt 5), as PEFT initialises lora_A.
      const double bound = 1 / std::sqrt(static_cast<double>(weight.size(0)));
      at::Tensor a = at::empty({lora.rank, weight.size(0)}, at::kFloat);
      a.uniform_(-bound, bound, generator);
      const double divisor = lora.use_rslora ? std::sqrt(static_cast<double>(lora.rank))
                                             : static_cast<double>(lora.rank);
      made.push_back({{layer, site, lora.rank, lora.alpha, lora.alpha / divisor, lora.dropout}, a});
    }
  }
  if (made.empty()) {
    return absl::InvalidArgumentError(
        "method.lora: no layer is left for it; last_layers trains all of those it names");
  }
  return made;
}

absl::StatusOr<std::vector<LoraPlace>> LoraPlaces(const LoraConfig& lora) {
  std::vector<LoraPlace> places;
  for (const LoraModule& module : lora.modules) {
    ASSIGN_OR_RETURN(const int site, SiteOf(module));
    places.push_back({module.layer, site, module.rank, module.alpha, module.scaling, lora.dropout});
  }
  return places;
}

void LoraPart::Bind(const TrainedTensors& tensors, Gpt2Network& network) const {
  for (const LoraPlace& place : places_) {
    network.blocks[place.layer].projections[place.site].adapter = std::make_shared<LoraProjection>(
        tensors.InNetwork(place.path() + ".lora_A"), tensors.InNetwork(place.path() + ".lora_B"),
        place.scale, place.dropout);
  }
}

absl::Status LoraPart::CheckSame(const TrainedPart& other) const {
  const std::vector<LoraPlace>& there = static_cast<const LoraPart&>(other).places_;
  for (size_t i = 0; i < places_.size() && i < there.size(); ++i) {
    if (places_[i].scale != there[i].scale) {
      return absl::InvalidArgumentError(absl::StrCat("init_from: alpha/rank of ", places_[i].path(),
                                                     " is ", there[i].scale, " there and ",
                                                     places_[i].scale, " here"));
    }
  }
  return absl::OkStatus();
}

absl::Status LoraPart::CheckSaves() const {
  for (const LoraPlace& place : places_) {
    if (place.rank == rank_ && place.alpha == alpha_) continue;
    return absl::UnimplementedError(
        "an adapter with a rank or alpha of its own for some layers cannot be written");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TrainedPart>> TrainedLora::Create(const CreateContext& context,
                                                                 TrainedTensors& tensors) const {
  const LoraConfig& lora = *context.method.Find<LoraConfig>();
  ASSIGN_OR_RETURN(const std::vector<FreshLora> made, MakeLora(lora, context));
  std::vector<LoraPlace> places;
  for (const FreshLora& fresh : made) {
    const at::Tensor& weight =
        context.base.network().blocks[fresh.place.layer].projections[fresh.place.site].weight;
    tensors.Add(fresh.place.path() + ".lora_A", fresh.a, name());
    tensors.Add(fresh.place.path() + ".lora_B", at::zeros({weight.size(1), lora.rank}), name());
    places.push_back(fresh.place);
  }
  return std::make_unique<LoraPart>(std::move(places), lora);
}

absl::StatusOr<std::unique_ptr<TrainedPart>> TrainedLora::Load(const LoadContext& context,
                                                               TrainedTensors& tensors) const {
  const LoraConfig& lora = *context.parts.Find<LoraConfig>();
  ASSIGN_OR_RETURN(std::vector<LoraPlace> places, LoraPlaces(lora));
  for (const LoraPlace& place : places) {
    for (const char* factor : {".lora_A", ".lora_B"}) {
      ASSIGN_OR_RETURN(const at::Tensor value, context.tensor(place.path() + factor));
      tensors.Add(place.path() + factor, value, name());
    }
  }
  return std::make_unique<LoraPart>(std::move(places), lora);
}

}  // namespace graft
