// AdapterSet on disk: PEFT's files through common/formats, and model folders for `full`.

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/adapter_parts.h"
#include "worker/engine/adapters/adapter_set.h"
#include "worker/engine/gpt2/tensor_io.h"

namespace graft {
namespace {

absl::StatusOr<int> SiteOf(const LoraModule& module) {
  for (int site = 0; site < kConv1dSites; ++site) {
    if (module.name == absl::StrCat("h.", module.layer, ".", Conv1dSiteName(site))) return site;
  }
  return absl::UnimplementedError(absl::StrCat("LoRA on ", module.name, " is not supported"));
}

const char* MethodOfTensor(const std::string& name) {
  return name == kSoftPromptTensor ? "soft_prompt" : "last_layers";
}

MethodConfig MethodOf(const AdapterParts& parts, const Gpt2Config& config) {
  MethodConfig method;
  if (parts.lora) {
    method.lora =
        MethodConfig::Lora{parts.lora->rank,           parts.lora->alpha,  parts.lora->dropout,
                           parts.lora->target_modules, parts.lora->layers, parts.lora->use_rslora};
  }
  if (parts.num_virtual_tokens > 0) {
    method.soft_prompt.emplace().num_virtual_tokens = parts.num_virtual_tokens;
  }
  if (!parts.saved_modules.empty()) {
    method.last_layers = MethodConfig::LastLayers{0, false, false};
    // PEFT can save modules that last_layers cannot name; they count, but no block trains whole.
    if (const auto shape = AsLastLayers(parts.saved_modules, config); shape.ok()) {
      method.last_layers = {shape->num_layers, shape->final_norm, shape->lm_head};
    }
  }
  return method;
}

AdapterParts PartsOf(const MethodConfig& method, int64_t num_layers) {
  AdapterParts parts;
  if (method.lora) {
    parts.lora = AdapterParts::Lora{method.lora->rank,           method.lora->alpha,
                                    method.lora->dropout,        method.lora->use_rslora,
                                    method.lora->target_modules, method.lora->layers};
  }
  if (method.soft_prompt) parts.num_virtual_tokens = method.soft_prompt->num_virtual_tokens;
  if (method.last_layers) {
    for (int64_t layer = num_layers - method.last_layers->num_layers; layer < num_layers; ++layer) {
      parts.saved_modules.push_back(absl::StrCat("h.", layer));
    }
    if (method.last_layers->include_final_norm) parts.saved_modules.push_back("ln_f");
    if (method.last_layers->include_lm_head) parts.saved_modules.push_back("lm_head");
  }
  return parts;
}

// The trained tensors as F32 on the CPU, one at a time.
class F32Source {
 public:
  F32Source(const std::vector<TrainedTensor>& tensors, Pulse* pulse) : pulse_(pulse) {
    for (const TrainedTensor& trained : tensors) {
      tensors_[trained.name] = trained.tensor;
      TensorInfo info = InfoOf(trained.name, trained.tensor);
      info.dtype = DType::kF32;
      infos_.push_back(std::move(info));
    }
  }
  const std::vector<TensorInfo>& infos() const { return infos_; }
  absl::StatusOr<std::span<const std::byte>> operator()(const TensorInfo& info) {
    if (pulse_ != nullptr) pulse_->Beat();
    current_ = tensors_.at(info.name).to(at::kCPU, at::kFloat).contiguous();
    return BytesOf(current_);
  }

 private:
  std::map<std::string, at::Tensor> tensors_;
  std::vector<TensorInfo> infos_;
  at::Tensor current_;
  Pulse* const pulse_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AdapterSet>> AdapterSet::Load(const Gpt2Model& base,
                                                             const std::string& directory) {
  ASSIGN_OR_RETURN(const AdapterFolder folder, AdapterFolder::Open(directory, base.config()));
  std::unique_ptr<AdapterSet> set(new AdapterSet(base, MethodOf(folder.parts(), base.config())));
  const auto tensor = [&](const std::string& name) -> absl::StatusOr<at::Tensor> {
    const TensorView* view = folder.Find(name);
    if (view == nullptr) {
      return absl::InternalError(absl::StrCat(directory, ": no tensor ", name));
    }
    ASSIGN_OR_RETURN(at::Tensor value, TensorFromView(*view));
    if (value.numel() > 0 && !at::isfinite(value).all().item<bool>()) {
      return absl::InvalidArgumentError(
          absl::StrCat(directory, ": tensor ", name, " holds NaN or infinite values"));
    }
    return value;
  };
  for (const LoraModule& module : folder.lora_modules()) {
    const absl::StatusOr<int> site = SiteOf(module);
    if (!site.ok()) return Annotate(site.status(), directory);
    ASSIGN_OR_RETURN(const at::Tensor a, tensor(module.name + ".lora_A"));
    ASSIGN_OR_RETURN(const at::Tensor b, tensor(module.name + ".lora_B"));
    set->AddLora({module.layer, *site, module.rank, module.alpha, module.scaling,
                  folder.parts().lora->dropout},
                 a, b);
  }
  for (const TensorView& view : folder.tensors()) {
    if (absl::EndsWith(view.name, ".lora_A") || absl::EndsWith(view.name, ".lora_B")) continue;
    ASSIGN_OR_RETURN(const at::Tensor value, tensor(view.name));
    set->AddTensor(view.name, value, MethodOfTensor(view.name));
  }
  return set;
}

absl::StatusOr<std::vector<std::string>> AdapterSet::Save(const std::string& directory,
                                                          const SaveOptions& options) const {
  F32Source source(tensors_, options.pulse);
  if (method_.full) {
    RETURN_IF_ERROR(WriteModelFolder(directory, base_.config(), source.infos(), std::ref(source),
                                     options.tokenizer_directory));
    return ListDirectory(directory);
  }
  for (const LoraPlace& place : lora_places_) {
    if (place.rank != method_.lora->rank || place.alpha != method_.lora->alpha) {
      return absl::UnimplementedError(
          "an adapter with a rank or alpha of its own for some layers cannot be written");
    }
  }
  AdapterWriteOptions write;
  write.base_model_name = options.base_model_name;
  ASSIGN_OR_RETURN(
      std::vector<std::string> files,
      WriteAdapter(directory, base_.config(), PartsOf(method_, base_.network().num_layers()),
                   source.infos(), std::ref(source), write));
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace graft
