#include <algorithm>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/formats/adapter_parts.h"
#include "common/formats/float_convert.h"
#include "common/formats/peft_config.h"

namespace graft {
namespace {

constexpr char kAdapterConfig[] = "adapter_config.json";
constexpr char kAdapterWeights[] = "adapter_model.safetensors";
constexpr int64_t kMaxAdapterConfigBytes = int64_t{1} << 20;

bool AllZero(const TensorView& tensor) {
  return absl::c_all_of(tensor.bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

// Plain names as a spec has them, whatever form the file uses; the file's own ones where they mean
// no more and no less than the modules.
std::vector<std::string> TargetNames(const PeftLoraConfig& peft,
                                     const std::vector<LoraModule>& modules) {
  std::set<std::string> names;
  for (const LoraModule& module : modules) names.insert(NameInBlock(module));
  std::set<std::string> meant;
  for (const char* site : {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"}) {
    const bool named = absl::c_any_of(peft.target_modules, [&](const std::string& name) {
      return name == site || absl::EndsWith(site, absl::StrCat(".", name));
    });
    if (named) meant.insert(site);
  }
  const bool plain = peft.target_regex.empty() &&
                     absl::c_none_of(peft.target_modules, [](const std::string& name) {
                       return absl::StrContains(name, "h.");
                     });
  if (plain && meant == names) return peft.target_modules;
  return {names.begin(), names.end()};
}

std::vector<int64_t> LayersOf(const std::vector<LoraModule>& modules, const Gpt2Config& gpt2,
                              const std::vector<std::string>& saved) {
  std::set<int64_t> layers;
  for (const LoraModule& module : modules) layers.insert(module.layer);
  int64_t free = 0;
  for (int64_t layer = 0; layer < gpt2.n_layer; ++layer) {
    if (!absl::c_linear_search(saved, absl::StrCat("h.", layer))) ++free;
  }
  if (static_cast<int64_t>(layers.size()) == free) return {};
  return {layers.begin(), layers.end()};
}

}  // namespace

// A file's tensors, taken one after the other by the names they should have; what is wrong is
// collected.
class AdapterFolder::Taker {
 public:
  explicit Taker(const SafetensorsFile& file) : file_(file) {}

  void Take(const std::string& stored, const TensorShape& tensor, std::vector<TensorView>& taken) {
    const TensorView* view = file_.Find(stored);
    used_.insert(stored);
    if (view == nullptr) {
      problems_.push_back(absl::StrCat(stored, " ", ShapeText(tensor.shape), " is missing"));
    } else if (view->shape != tensor.shape) {
      problems_.push_back(absl::StrCat(stored, " has shape ", ShapeText(view->shape),
                                       ", but the base model and adapter_config.json make it ",
                                       ShapeText(tensor.shape)));
    } else if (!IsFloat(view->dtype)) {
      problems_.push_back(absl::StrCat(stored, " is ", DTypeName(view->dtype), ", no float type"));
    } else {
      taken.push_back(*view);
      taken.back().name = tensor.name;
    }
  }

  absl::Status Finish() {
    for (const TensorView& tensor : file_.tensors()) {
      // A second name that some writers add for transformers' own loader.
      if (absl::StrContains(tensor.name, ".modules_to_save.default.")) continue;
      if (!used_.contains(tensor.name)) {
        problems_.push_back(absl::StrCat(Shortened(tensor.name, 200),
                                         " belongs to nothing in adapter_config.json"));
      }
    }
    if (problems_.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("does not fit: ", absl::StrJoin(problems_, "; ")));
  }

 private:
  const SafetensorsFile& file_;
  std::set<std::string> used_;
  std::vector<std::string> problems_;
};

absl::StatusOr<AdapterFolder> AdapterFolder::Open(const std::string& directory,
                                                  const Gpt2Config& gpt2) {
  if (!DirectoryExists(directory)) {
    return absl::NotFoundError(absl::StrCat("there is no adapter directory ", directory));
  }
  AdapterFolder folder;
  if (FileExists(JoinPath(directory, kAdapterConfig))) {
    RETURN_IF_ERROR(folder.AddPeftDirectory(directory, gpt2));
  } else if (DirectoryExists(JoinPath(directory, "lora")) &&
             DirectoryExists(JoinPath(directory, "soft_prompt"))) {
    RETURN_IF_ERROR(folder.AddPeftDirectory(JoinPath(directory, "lora"), gpt2));
    RETURN_IF_ERROR(folder.AddPeftDirectory(JoinPath(directory, "soft_prompt"), gpt2));
  } else {
    return absl::NotFoundError(absl::StrCat(directory, " has no ", kAdapterConfig,
                                            ", nor the directories lora and soft_prompt"));
  }
  folder.DropCarrier();
  return folder;
}

absl::Status AdapterFolder::AddPeftDirectory(const std::string& directory, const Gpt2Config& gpt2) {
  const std::string config_path = JoinPath(directory, kAdapterConfig);
  const std::string weights_path = JoinPath(directory, kAdapterWeights);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(config_path, kMaxAdapterConfigBytes));
  const absl::StatusOr<PeftConfig> config = ParsePeftConfig(text);
  if (!config.ok()) return Annotate(config.status(), config_path);
  if (!FileExists(weights_path)) {
    const bool pickled = FileExists(JoinPath(directory, "adapter_model.bin"));
    return absl::NotFoundError(absl::StrCat(weights_path, " is not there",
                                            pickled ? "; adapter_model.bin is not read" : ""));
  }
  ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(weights_path));
  files_.push_back(std::make_unique<SafetensorsFile>(std::move(file)));
  Taker taker(*files_.back());
  const absl::Status understood = std::holds_alternative<PeftLoraConfig>(*config)
                                      ? AddLora(std::get<PeftLoraConfig>(*config), gpt2, taker)
                                      : AddPrompt(std::get<PeftPromptConfig>(*config), gpt2, taker);
  if (!understood.ok()) return Annotate(understood, config_path);
  return Annotate(taker.Finish(), weights_path);
}

absl::Status AdapterFolder::AddLora(const PeftLoraConfig& peft, const Gpt2Config& gpt2,
                                    Taker& taker) {
  if (parts_.lora.has_value()) return absl::InvalidArgumentError("a second LoRA adapter");
  ASSIGN_OR_RETURN(parts_.saved_modules, ResolveSavedModules(peft.modules_to_save, gpt2));
  ASSIGN_OR_RETURN(lora_modules_, ResolveLoraModules(peft, gpt2));
  base_model_name_ = peft.base_model_name;
  for (const TensorShape& tensor : AdapterTensorShapes(lora_modules_, {}, gpt2)) {
    taker.Take(absl::StrCat("base_model.model.", PeftModulePath(tensor.name), ".weight"), tensor,
               tensors_);
  }
  for (const TensorShape& tensor : SavedModuleTensors(parts_.saved_modules, gpt2)) {
    taker.Take(absl::StrCat("base_model.model.", PeftModulePath(tensor.name)), tensor, tensors_);
  }
  if (lora_modules_.empty()) return absl::OkStatus();
  parts_.lora = AdapterParts::Lora{peft.rank,
                                   peft.alpha,
                                   peft.dropout,
                                   peft.use_rslora,
                                   TargetNames(peft, lora_modules_),
                                   LayersOf(lora_modules_, gpt2, parts_.saved_modules)};
  if (const absl::StatusOr<LoraShape> shape = AsLoraShape(lora_modules_); shape.ok()) {
    parts_.lora->rank = shape->rank;  // A pattern that all modules share.
    parts_.lora->alpha = shape->alpha;
  }
  return absl::OkStatus();
}

absl::Status AdapterFolder::AddPrompt(const PeftPromptConfig& peft, const Gpt2Config& gpt2,
                                      Taker& taker) {
  if (parts_.num_virtual_tokens > 0) return absl::InvalidArgumentError("a second soft prompt");
  if (peft.n_embd != 0 && peft.n_embd != gpt2.n_embd) {
    return absl::InvalidArgumentError(
        absl::StrCat("token_dim: ", peft.n_embd, ", but the base model is ", gpt2.n_embd, " wide"));
  }
  if (peft.num_virtual_tokens >= gpt2.n_positions) {
    return absl::InvalidArgumentError(absl::StrCat("num_virtual_tokens: ", peft.num_virtual_tokens,
                                                   " leave no room in ", gpt2.n_positions,
                                                   " positions"));
  }
  if (peft.num_virtual_tokens == 0 && peft.modules_to_save.empty()) {
    return absl::InvalidArgumentError("num_virtual_tokens: must be at least 1");
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> saved,
                   ResolveSavedModules(peft.modules_to_save, gpt2));
  if (!saved.empty() && !parts_.saved_modules.empty()) {
    return absl::UnimplementedError("modules_to_save: in both of two directories is not supported");
  }
  if (!saved.empty()) parts_.saved_modules = saved;
  parts_.num_virtual_tokens = peft.num_virtual_tokens;
  if (base_model_name_.empty()) base_model_name_ = peft.base_model_name;
  std::vector<TensorView> prompt;
  taker.Take("prompt_embeddings", {kSoftPromptTensor, {peft.num_virtual_tokens, gpt2.n_embd}},
             prompt);
  if (peft.num_virtual_tokens > 0) tensors_.insert(tensors_.end(), prompt.begin(), prompt.end());
  for (const TensorShape& tensor : SavedModuleTensors(saved, gpt2)) {
    taker.Take(absl::StrCat("base_model.", PeftModulePath(tensor.name)), tensor, tensors_);
  }
  return absl::OkStatus();
}

// A LoRA that cannot do anything and only makes PEFT load the saved modules.
void AdapterFolder::DropCarrier() {
  if (parts_.saved_modules.empty() || lora_modules_.size() != 1 || lora_modules_[0].rank != 1)
    return;
  const TensorView* b = Find(lora_modules_[0].name + ".lora_B");
  if (b == nullptr || !AllZero(*b)) return;
  const std::string prefix = lora_modules_[0].name + ".lora_";
  std::erase_if(tensors_,
                [&](const TensorView& tensor) { return absl::StartsWith(tensor.name, prefix); });
  lora_modules_.clear();
  parts_.lora.reset();
}

const TensorView* AdapterFolder::Find(absl::string_view name) const {
  const auto found =
      absl::c_find_if(tensors_, [&](const TensorView& tensor) { return tensor.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

}  // namespace graft
