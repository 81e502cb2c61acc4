#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/adapter_parts.h"
#include "common/formats/json_util.h"
#include "common/formats/peft_config.h"

namespace graft {
namespace {

constexpr char kLoraDirectory[] = "lora";
constexpr char kPromptDirectory[] = "soft_prompt";
constexpr char kWeightSuffix[] = ".weight";
constexpr char kMerge[] = ".merge_and_unload()";

// One PEFT adapter.
struct PlannedDirectory {
  std::string subdirectory;
  PeftConfig config;
  std::vector<AdapterFile::Tensor> tensors;
};

std::vector<int64_t> WholeBlocks(const AdapterParts& parts, const Gpt2Config& gpt2) {
  std::vector<int64_t> blocks;
  for (int64_t layer = 0; layer < gpt2.n_layer; ++layer) {
    if (absl::c_linear_search(parts.saved_modules, absl::StrCat("h.", layer))) {
      blocks.push_back(layer);
    }
  }
  return blocks;
}

// Old PEFT versions put LoRA into saved blocks too, so the layers are said whenever some are left
// out.
std::vector<int64_t> LoraLayers(const AdapterParts& parts, const Gpt2Config& gpt2) {
  const std::vector<int64_t> saved = WholeBlocks(parts, gpt2);
  if (parts.lora->layers.empty() && saved.empty()) return {};
  std::vector<int64_t> layers;
  for (int64_t layer = 0; layer < gpt2.n_layer; ++layer) {
    const bool meant =
        parts.lora->layers.empty() || absl::c_linear_search(parts.lora->layers, layer);
    if (meant && !absl::c_linear_search(saved, layer)) layers.push_back(layer);
  }
  return layers;
}

PeftLoraConfig LoraConfig(const AdapterParts& parts, const Gpt2Config& gpt2,
                          const std::string& base_model_name) {
  PeftLoraConfig config;
  config.base_model_name = base_model_name;
  config.rank = parts.lora->rank;
  config.alpha = parts.lora->alpha;
  config.dropout = parts.lora->dropout;
  config.use_rslora = parts.lora->use_rslora;
  config.target_modules = parts.lora->target_modules;
  config.layers_to_transform = LoraLayers(parts, gpt2);
  return config;
}

// PEFT has no adapter that only saves modules. A LoRA of rank 1 on a layer that is not trained, all
// zeros, does nothing and loads everywhere; where every block is trained, a target that matches
// nothing does the same from 0.12 on.
absl::StatusOr<PeftLoraConfig> CarrierConfig(const AdapterParts& parts, const Gpt2Config& gpt2,
                                             const AdapterWriteOptions& options) {
  PeftLoraConfig config;
  config.base_model_name = options.base_model_name;
  config.rank = 1;
  config.alpha = 1;
  const std::vector<int64_t> saved = WholeBlocks(parts, gpt2);
  for (int64_t layer = 0; layer < gpt2.n_layer; ++layer) {
    if (absl::c_linear_search(saved, layer)) continue;
    config.target_modules = {absl::StrCat("transformer.h.", layer, ".attn.c_attn")};
    return config;
  }
  ASSIGN_OR_RETURN(const std::string fields, PeftFieldSet(options.peft_version));
  if (fields == "0.10.0") {
    return absl::InvalidArgumentError(
        "PEFT before 0.14 has no adapter that saves every block and has no LoRA");
  }
  return config;
}

std::vector<std::string> PeftPaths(const std::vector<std::string>& modules) {
  std::vector<std::string> paths;
  for (const std::string& module : modules) paths.push_back(PeftModulePath(module));
  return paths;
}

// Under a LoraModel names begin with base_model.model., under prompt tuning with base_model. alone.
std::string StoredName(const std::string& name, bool under_lora) {
  if (name == kSoftPromptTensor) return "prompt_embeddings";
  const bool is_lora = absl::EndsWith(name, ".lora_A") || absl::EndsWith(name, ".lora_B");
  return absl::StrCat(under_lora ? "base_model.model." : "base_model.", PeftModulePath(name),
                      is_lora ? kWeightSuffix : "");
}

void PlanTensors(const std::vector<TensorShape>& shapes, bool is_carrier,
                 PlannedDirectory& directory) {
  const bool under_lora = std::holds_alternative<PeftLoraConfig>(directory.config);
  for (const TensorShape& tensor : shapes) {
    directory.tensors.push_back({{StoredName(tensor.name, under_lora), DType::kF32, tensor.shape},
                                 is_carrier ? "" : tensor.name});
  }
}

absl::StatusOr<PlannedDirectory> PlanLora(const std::string& subdirectory, PeftLoraConfig config,
                                          bool is_carrier, const AdapterParts& parts,
                                          const Gpt2Config& gpt2) {
  config.modules_to_save = PeftPaths(parts.saved_modules);
  ASSIGN_OR_RETURN(const std::vector<LoraModule> modules, ResolveLoraModules(config, gpt2));
  PlannedDirectory directory{subdirectory, std::move(config), {}};
  PlanTensors(AdapterTensorShapes(modules, {}, gpt2), is_carrier, directory);
  PlanTensors(SavedModuleTensors(parts.saved_modules, gpt2), false, directory);
  return directory;
}

PlannedDirectory PlanPrompt(const std::string& subdirectory, const AdapterParts& parts,
                            const std::vector<std::string>& saved, const Gpt2Config& gpt2,
                            const std::string& base_model_name) {
  PlannedDirectory directory{
      subdirectory,
      PeftPromptConfig{base_model_name, parts.num_virtual_tokens, gpt2.n_embd, gpt2.n_layer,
                       gpt2.n_head, PeftPaths(saved)},
      {}};
  PlanTensors({{kSoftPromptTensor, {parts.num_virtual_tokens, gpt2.n_embd}}}, false, directory);
  PlanTensors(SavedModuleTensors(saved, gpt2), false, directory);
  return directory;
}

absl::StatusOr<std::vector<PlannedDirectory>> Plan(const AdapterParts& parts,
                                                   const Gpt2Config& gpt2,
                                                   const AdapterWriteOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, AdapterSubdirectories(parts, options));
  RETURN_IF_ERROR(ResolveSavedModules(PeftPaths(parts.saved_modules), gpt2).status());
  std::vector<PlannedDirectory> plan;
  if (parts.num_virtual_tokens > 0 && names.size() == 1) {
    plan.push_back(PlanPrompt("", parts, parts.saved_modules, gpt2, options.base_model_name));
    return plan;
  }
  const std::string first = names.size() == 1 ? "" : kLoraDirectory;
  PeftLoraConfig config;
  if (parts.lora.has_value()) {
    config = LoraConfig(parts, gpt2, options.base_model_name);
    if (!parts.lora->layers.empty() && config.layers_to_transform.empty()) {
      return absl::InvalidArgumentError("lora.layers: no layer is left that is not saved whole");
    }
  } else {
    ASSIGN_OR_RETURN(config, CarrierConfig(parts, gpt2, options));
  }
  ASSIGN_OR_RETURN(PlannedDirectory lora,
                   PlanLora(first, std::move(config), !parts.lora.has_value(), parts, gpt2));
  plan.push_back(std::move(lora));
  if (parts.num_virtual_tokens > 0) {
    plan.push_back(PlanPrompt(kPromptDirectory, parts, {}, gpt2, options.base_model_name));
  }
  return plan;
}

// Gives every planned tensor the dtype of the one it is, or says all that does not fit.
absl::Status TakeTensors(std::vector<PlannedDirectory>& plan,
                         const std::vector<TensorInfo>& tensors) {
  absl::flat_hash_map<std::string, const TensorInfo*> given;
  std::vector<std::string> problems;
  for (const TensorInfo& tensor : tensors) {
    if (!given.emplace(tensor.name, &tensor).second) {
      problems.push_back(absl::StrCat(tensor.name, " is given twice"));
    }
  }
  for (PlannedDirectory& directory : plan) {
    for (AdapterFile::Tensor& planned : directory.tensors) {
      if (planned.name.empty()) continue;
      const auto found = given.find(planned.name);
      if (found == given.end()) {
        problems.push_back(absl::StrCat(planned.name, " is missing"));
        continue;
      }
      if (found->second->shape != planned.stored.shape) {
        problems.push_back(absl::StrCat(planned.name, " has shape ",
                                        ShapeText(found->second->shape), ", not ",
                                        ShapeText(planned.stored.shape)));
      }
      planned.stored.dtype = found->second->dtype;
      given.erase(found);
    }
  }
  for (const auto& [name, tensor] : given)
    problems.push_back(absl::StrCat(name, " belongs to no part"));
  if (problems.empty()) return absl::OkStatus();
  absl::c_sort(problems);
  return absl::InvalidArgumentError(
      absl::StrCat("the adapter's tensors do not fit its parts: ", absl::StrJoin(problems, "; ")));
}

absl::Status WriteTensors(const std::string& path, const std::vector<AdapterFile::Tensor>& tensors,
                          TensorSource source) {
  absl::flat_hash_map<std::string, std::string> ours;
  std::vector<TensorInfo> stored;
  for (const AdapterFile::Tensor& tensor : tensors) {
    ours[tensor.stored.name] = tensor.name;
    stored.push_back(tensor.stored);
  }
  std::vector<std::byte> zeros;
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(WriteSafetensors(
      std::move(stored), kPyTorchMetadata,
      [&](const TensorInfo& tensor) -> absl::StatusOr<std::span<const std::byte>> {
        TensorInfo own = tensor;
        own.name = ours[tensor.name];
        if (!own.name.empty()) return source(own);
        ASSIGN_OR_RETURN(const int64_t size, TensorSizeBytes(tensor.dtype, tensor.shape));
        zeros.assign(static_cast<size_t>(size), std::byte{0});
        return zeros;
      },
      [&](absl::string_view bytes) { return file.Append(bytes); }));
  return file.Commit();
}

std::string Quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

std::string PartsText(const AdapterParts& parts) {
  std::vector<std::string> lines;
  if (parts.lora.has_value()) {
    lines.push_back(absl::StrCat("- LoRA of rank ", parts.lora->rank, ", alpha ", parts.lora->alpha,
                                 ", on ", absl::StrJoin(parts.lora->target_modules, ", ")));
  }
  if (parts.num_virtual_tokens > 0) {
    lines.push_back(
        absl::StrCat("- a soft prompt of ", parts.num_virtual_tokens, " virtual tokens"));
  }
  if (!parts.saved_modules.empty()) {
    lines.push_back(absl::StrCat("- whole modules: ", absl::StrJoin(parts.saved_modules, ", ")));
  }
  return absl::StrJoin(lines, "\n");
}

std::string Readme(const AdapterParts& parts, const AdapterWriteOptions& options,
                   const std::string& snippet) {
  const std::string& base = options.base_model_name;
  std::string text = "---\n";
  if (!base.empty()) absl::StrAppend(&text, "base_model: ", Quoted(base), "\n");
  absl::StrAppend(
      &text, "library_name: peft\npipeline_tag: text-generation\ntags:\n- gpt2\n- graft\n---\n\n# ",
      options.title.empty() ? "GPT-2 adapter" : options.title,
      "\n\nA PEFT adapter for a GPT-2, trained with graft. It consists of\n\n", PartsText(parts),
      "\n\n## How to load it\n\n```python\n", snippet, "```\n");
  if (!parts.saved_modules.empty()) {
    absl::StrAppend(&text,
                    "\nLoad it with `PeftModel` (or `AutoPeftModelForCausalLM`) as above. The "
                    "`load_adapter` of\n"
                    "transformers 5 itself drops whole modules without an error and leaves the "
                    "untuned model.\n");
  }
  if (absl::StrContains(snippet, kMerge)) {
    absl::StrAppend(&text,
                    "\nThe two directories are loaded in this order, the first one merged: over a "
                    "LoRA that is not,\nPEFT's `generate` leaves the soft prompt out.\n");
  }
  return text;
}

}  // namespace

std::vector<TensorShape> AdapterTensorShapes(const std::vector<LoraModule>& lora_modules,
                                             const AdapterParts& parts, const Gpt2Config& gpt2) {
  std::vector<TensorShape> shapes;
  for (const LoraModule& module : lora_modules) {
    shapes.push_back({module.name + ".lora_A", {module.rank, module.in}});
    shapes.push_back({module.name + ".lora_B", {module.out, module.rank}});
  }
  if (parts.num_virtual_tokens > 0) {
    shapes.push_back({kSoftPromptTensor, {parts.num_virtual_tokens, gpt2.n_embd}});
  }
  for (TensorShape& tensor : SavedModuleTensors(parts.saved_modules, gpt2)) {
    shapes.push_back(std::move(tensor));
  }
  return shapes;
}

absl::StatusOr<std::vector<std::string>> AdapterSubdirectories(const AdapterParts& parts,
                                                               const AdapterWriteOptions& options) {
  const bool prompt = parts.num_virtual_tokens > 0;
  if (!prompt && !parts.lora.has_value() && parts.saved_modules.empty()) {
    return absl::InvalidArgumentError("an adapter needs a part: lora, soft_prompt or last_layers");
  }
  ASSIGN_OR_RETURN(const std::string fields, PeftFieldSet(options.peft_version));
  // Prompt tuning has modules_to_save from 0.17 on; before, a LoRA directory carries them.
  const bool old = fields == "0.10.0" || fields == "0.14.0" || fields == "0.15.2";
  const bool two = prompt && (parts.lora.has_value() || (old && !parts.saved_modules.empty()));
  if (two) return std::vector<std::string>{kLoraDirectory, kPromptDirectory};
  return std::vector<std::string>{""};
}

absl::StatusOr<std::vector<AdapterFile>> PlanAdapter(const Gpt2Config& gpt2,
                                                     const AdapterParts& parts,
                                                     const std::vector<TensorInfo>& tensors,
                                                     const AdapterWriteOptions& options) {
  ASSIGN_OR_RETURN(std::vector<PlannedDirectory> plan, Plan(parts, gpt2, options));
  RETURN_IF_ERROR(TakeTensors(plan, tensors));
  std::vector<AdapterFile> files;
  for (PlannedDirectory& planned : plan) {
    ASSIGN_OR_RETURN(std::string config, PeftConfigJson(planned.config, options.peft_version));
    files.push_back({JoinPath(planned.subdirectory, "adapter_config.json"), std::move(config), {}});
    files.push_back({JoinPath(planned.subdirectory, "adapter_model.safetensors"), "",
                     std::move(planned.tensors)});
  }
  ASSIGN_OR_RETURN(const std::string snippet,
                   PeftSnippet(parts, options, "path/to/this/directory"));
  files.push_back({"README.md", Readme(parts, options, snippet), {}});
  return files;
}

absl::StatusOr<std::vector<std::string>> WriteAdapter(const std::string& directory,
                                                      const Gpt2Config& gpt2,
                                                      const AdapterParts& parts,
                                                      const std::vector<TensorInfo>& tensors,
                                                      TensorSource source,
                                                      const AdapterWriteOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<AdapterFile> files,
                   PlanAdapter(gpt2, parts, tensors, options));
  std::vector<std::string> paths;
  for (const AdapterFile& file : files) {
    const std::string path = JoinPath(directory, file.path);
    RETURN_IF_ERROR(CreateDirectories(DirectoryOf(path)));
    RETURN_IF_ERROR(file.tensors.empty() ? WriteFileAtomically(path, file.text)
                                         : WriteTensors(path, file.tensors, source));
    paths.push_back(file.path);
  }
  return paths;
}

absl::StatusOr<std::string> PeftSnippet(const AdapterParts& parts,
                                        const AdapterWriteOptions& options,
                                        const std::string& directory) {
  ASSIGN_OR_RETURN(const std::vector<std::string> subdirectories,
                   AdapterSubdirectories(parts, options));
  const std::string& base = options.base_model_name;
  std::string lines =
      "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n";
  absl::StrAppend(&lines, "model = AutoModelForCausalLM.from_pretrained(",
                  Quoted(base.empty() ? "path/to/base_model" : base), ")\n");
  for (const std::string& subdirectory : subdirectories) {
    const std::string path = subdirectory.empty() ? directory : JoinPath(directory, subdirectory);
    // Over a LoRA that is not merged, PEFT's generate leaves the prompt out (forward does not), and
    // modules that the LoRA's adapter saved are looked for in the prompt's file too.
    const bool merge = subdirectory == kLoraDirectory;
    absl::StrAppend(&lines, "model = PeftModel.from_pretrained(model, ", Quoted(path), ")",
                    merge ? kMerge : "", "\n");
  }
  return lines;
}

}  // namespace graft
