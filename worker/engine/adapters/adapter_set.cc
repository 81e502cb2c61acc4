#include "worker/engine/adapters/adapter_set.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "worker/engine/adapters/lora_projection.h"

namespace graft {
namespace {

// Streams of random numbers, so that a part's tensors do not depend on what other parts there are.
enum InitStream : uint64_t { kLoraStream = 1, kSoftPromptStream = 2 };

at::Generator InitGenerator(uint64_t seed, InitStream stream) {
  return at::detail::createCPUGenerator(seed * 0x9e3779b97f4a7c15 + stream);
}

std::string ModulePath(int64_t layer, int site) {
  return absl::StrCat("h.", layer, ".", Conv1dSiteName(site));
}

// PEFT's rule for a list of targets: the module's path is the name or ends with "." and the name.
bool MatchesTarget(int64_t layer, int site, const std::string& target) {
  const std::string path = absl::StrCat("transformer.", ModulePath(layer, site));
  return path == target || absl::EndsWith(path, absl::StrCat(".", target));
}

bool Decays(absl::string_view name) {
  return !absl::EndsWith(name, ".bias") && !absl::StrContains(name, "ln_");
}

absl::Status CheckTargets(const MethodConfig::Lora& lora, int64_t num_layers) {
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

}  // namespace

absl::StatusOr<std::unique_ptr<AdapterSet>> AdapterSet::Create(const Gpt2Model& base,
                                                               const MethodConfig& method,
                                                               uint64_t seed) {
  const bool parts = method.lora || method.soft_prompt || method.last_layers;
  if (parts == method.full) {
    return absl::InvalidArgumentError(
        parts ? "method.full: excludes the other parts"
              : "method: at least one of lora, soft_prompt, last_layers, full must be set");
  }
  std::unique_ptr<AdapterSet> set(new AdapterSet(base, method));
  RETURN_IF_ERROR(set->CheckLastLayers());
  if (method.lora) RETURN_IF_ERROR(set->CreateLora(seed));
  if (method.soft_prompt) RETURN_IF_ERROR(set->CreateSoftPrompt(seed));
  RETURN_IF_ERROR(set->AddBaseTensors());
  if (set->tensors_.empty()) {
    return absl::InvalidArgumentError(
        "method.last_layers: nothing trains; raise num_layers or include the final norm or head");
  }
  return set;
}

absl::Status AdapterSet::CheckLastLayers() const {
  if (!method_.last_layers) return absl::OkStatus();
  const int64_t layers = base_.network().num_layers();
  if (method_.last_layers->num_layers < 0 || method_.last_layers->num_layers > layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("method.last_layers.num_layers: ", method_.last_layers->num_layers,
                     " is not in 0..", layers));
  }
  return absl::OkStatus();
}

absl::Status AdapterSet::CreateLora(uint64_t seed) {
  const MethodConfig::Lora& lora = *method_.lora;
  const Gpt2Network& network = base_.network();
  RETURN_IF_ERROR(CheckTargets(lora, network.num_layers()));
  at::Generator generator = InitGenerator(seed, kLoraStream);
  for (int64_t layer = 0; layer < first_trained_block(); ++layer) {
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
      AddLora({layer, site, lora.rank, lora.alpha, lora.alpha / divisor, lora.dropout}, a,
              at::zeros({weight.size(1), lora.rank}));
    }
  }
  if (lora_places_.empty()) {
    return absl::InvalidArgumentError(
        "method.lora: no layer is left for it; last_layers trains all of those it names");
  }
  return absl::OkStatus();
}

absl::Status AdapterSet::CreateSoftPrompt(uint64_t seed) {
  const MethodConfig::SoftPrompt& prompt = *method_.soft_prompt;
  using Init = MethodConfig::SoftPrompt::Init;
  const Gpt2Network& network = base_.network();
  const int64_t count = prompt.num_virtual_tokens;
  const int64_t most = network.n_positions() - 2;
  if (count < 1 || count > most) {
    return absl::InvalidArgumentError(absl::StrCat(
        "method.soft_prompt.num_virtual_tokens: ", count,
        most < 1 ? " do not fit" : absl::StrCat(" is not in 1..", most), ": the model has ",
        network.n_positions(), " positions, of which a text needs 2"));
  }
  at::Generator generator = InitGenerator(seed, kSoftPromptStream);
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
    ASSIGN_OR_RETURN(const at::Tensor words, base_.Unrounded("wte.weight", network.wte));
    values = words.index_select(0, rows.to(network.device()));
  }
  AddTensor("soft_prompt", values, "soft_prompt");
  return absl::OkStatus();
}

bool AdapterSet::TrainsBaseTensor(const std::string& name) const {
  if (method_.full) return true;
  if (!method_.last_layers) return false;
  if (name == "lm_head.weight") return method_.last_layers->include_lm_head;
  if (absl::StartsWith(name, "ln_f.")) return method_.last_layers->include_final_norm;
  for (int64_t layer = first_trained_block(); layer < base_.network().num_layers(); ++layer) {
    if (absl::StartsWith(name, absl::StrCat("h.", layer, "."))) return true;
  }
  return false;
}

absl::Status AdapterSet::AddBaseTensors() {
  Gpt2Network network = base_.network();
  // A tied head that last_layers trains becomes a copy of its own; full keeps it tied.
  const bool with_head = !method_.full || !base_.head_is_tied();
  const char* const method = method_.full ? "full" : "last_layers";
  for (const NamedTensor& named : NamedTensors(network, with_head)) {
    if (!TrainsBaseTensor(named.name)) continue;
    ASSIGN_OR_RETURN(const at::Tensor initial, base_.Unrounded(named.name, *named.tensor));
    AddTensor(named.name, initial, method);
  }
  return absl::OkStatus();
}

void AdapterSet::AddTensor(std::string name, const at::Tensor& initial, absl::string_view method) {
  const at::ScalarType type = base_.dtype() == at::kDouble ? at::kDouble : at::kFloat;
  TrainedTensor trained;
  trained.decays = Decays(name);
  trained.name = std::move(name);
  trained.tensor = initial.to(base_.device(), type, /*non_blocking=*/false,
                              /*copy=*/true, at::MemoryFormat::Contiguous);
  trained.tensor.requires_grad_(true);
  trained.method = std::string(method);
  tensors_.push_back(std::move(trained));
}

void AdapterSet::AddLora(LoraPlace place, const at::Tensor& a, const at::Tensor& b) {
  const std::string path = ModulePath(place.layer, place.site);
  place.index_a = tensors_.size();
  AddTensor(path + ".lora_A", a, "lora");
  AddTensor(path + ".lora_B", b, "lora");
  lora_places_.push_back(place);
}

int64_t AdapterSet::num_trained_parameters() const {
  int64_t count = 0;
  for (const TrainedTensor& trained : tensors_) count += trained.tensor.numel();
  return count;
}

int64_t AdapterSet::num_virtual_tokens() const {
  return method_.soft_prompt ? method_.soft_prompt->num_virtual_tokens : 0;
}

int64_t AdapterSet::first_trained_block() const {
  if (method_.full) return 0;
  const int64_t layers = base_.network().num_layers();
  return method_.last_layers ? layers - method_.last_layers->num_layers : layers;
}

absl::Status AdapterSet::CopyFrom(const AdapterSet& other) {
  if (tensors_.size() != other.tensors_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("init_from: it has ", other.tensors_.size(),
                                                   " tensors, the method needs ", tensors_.size()));
  }
  for (size_t i = 0; i < lora_places_.size() && i < other.lora_places_.size(); ++i) {
    if (lora_places_[i].scale != other.lora_places_[i].scale) {
      return absl::InvalidArgumentError(absl::StrCat(
          "init_from: alpha/rank of ", ModulePath(lora_places_[i].layer, lora_places_[i].site),
          " is ", other.lora_places_[i].scale, " there and ", lora_places_[i].scale, " here"));
    }
  }
  std::map<std::string, at::Tensor> values;
  for (const TrainedTensor& trained : other.tensors_) values[trained.name] = trained.tensor;
  for (const TrainedTensor& trained : tensors_) {
    const auto found = values.find(trained.name);
    if (found == values.end() || found->second.sizes() != trained.tensor.sizes()) {
      return absl::InvalidArgumentError(
          absl::StrCat("init_from: tensor ", trained.name,
                       found == values.end() ? " is missing" : " has another shape"));
    }
  }
  c10::NoGradGuard no_grad;
  for (TrainedTensor& trained : tensors_) trained.tensor.copy_(values[trained.name]);
  return absl::OkStatus();
}

Gpt2Network AdapterSet::Bind() const {
  Gpt2Network network = base_.network();
  std::map<std::string, at::Tensor> cast;
  for (const TrainedTensor& trained : tensors_) {
    cast[trained.name] = trained.tensor.to(TypeInNetwork(trained.name, base_.dtype()));
  }
  for (const LoraPlace& place : lora_places_) {
    network.blocks[place.layer].projections[place.site].adapter = std::make_shared<LoraProjection>(
        cast.at(tensors_[place.index_a].name), cast.at(tensors_[place.index_a + 1].name),
        place.scale, place.dropout);
  }
  for (const NamedTensor& named : NamedTensors(network, /*with_lm_head=*/true)) {
    if (const auto found = cast.find(named.name); found != cast.end()) {
      *named.tensor = found->second;
    }
  }
  if (method_.full && base_.head_is_tied()) network.lm_head = network.wte;
  for (size_t layer = 0; layer < network.blocks.size(); ++layer) {
    for (int site = 0; site < kConv1dSites; ++site) {
      Projection& projection = network.blocks[layer].projections[site];
      const Projection& frozen = base_.network().blocks[layer].projections[site];
      if (!projection.weight.is_same(frozen.weight)) projection.packed = {};
    }
  }
  if (!network.lm_head.is_same(base_.network().lm_head)) {
    network.head_packed = PackedWeight(network.lm_head);
  }
  if (const auto found = cast.find("soft_prompt"); found != cast.end()) {
    network.soft_prompt = found->second;
  }
  return network;
}

}  // namespace graft
