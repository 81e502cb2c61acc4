#include <algorithm>
#include <map>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/json_util.h"
#include "common/methods/adapter_files.h"
#include "common/methods/last_layers.h"
#include "common/methods/method.h"
#include "common/methods/peft_adapter.h"
#include "common/methods/peft_modules.h"

namespace graft {
namespace {

constexpr char kMerge[] = ".merge_and_unload()";

// One PEFT adapter, and where.
struct PlannedDirectory {
  std::string subdirectory;
  PeftAdapter adapter;
};

// "lora, soft_prompt or last_layers".
std::string NamesOfAdapters() {
  std::vector<std::string> names;
  for (const Method* method : Methods()) {
    if (method->directory() != nullptr) names.push_back(method->name());
  }
  const std::string last = names.back();
  names.pop_back();
  return absl::StrCat(absl::StrJoin(names, ", "), " or ", last);
}

// Whose adapters there are, in the order in which they are loaded. What saves modules has one of
// its own only if the first of the others cannot carry them.
absl::StatusOr<std::vector<const Method*>> AdaptersOf(const MethodConfig& parts,
                                                      const AdapterWriteOptions& options) {
  std::vector<const Method*> own;
  const Method* saver = nullptr;
  for (const Method* method : MethodsOf(parts)) {
    if (method->peft_type() != nullptr) own.push_back(method);
    if (method->saves_modules()) saver = method;
  }
  if (own.empty() && saver == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("an adapter needs a part: ", NamesOfAdapters()));
  }
  ASSIGN_OR_RETURN(const std::string fields, PeftFieldSet(options.peft_version));
  if (saver != nullptr && (own.empty() || !own[0]->CarriesModules(fields))) {
    own.insert(own.begin(), saver);
  }
  return own;
}

absl::StatusOr<std::vector<PlannedDirectory>> Plan(const MethodConfig& parts,
                                                   const Gpt2Config& gpt2,
                                                   const AdapterWriteOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<const Method*> adapters, AdaptersOf(parts, options));
  const std::vector<std::string> saved = SavedModules(parts, gpt2.n_layer);
  RETURN_IF_ERROR(ResolveSavedModules(PeftModulePaths(saved), gpt2).status());
  std::vector<PlannedDirectory> plan;
  for (const Method* method : adapters) {
    const bool carries = plan.empty();
    PlannedDirectory directory{adapters.size() == 1 ? "" : method->directory(), {}};
    ASSIGN_OR_RETURN(
        directory.adapter,
        method->Plan({parts, gpt2, options, carries ? saved : std::vector<std::string>()}));
    // Under a LoraModel names begin with base_model.model., under prompt tuning with base_model.
    const bool under_lora = absl::string_view(method->directory()) == kAdapterDirectories[0];
    if (carries) {
      directory.adapter.Add(SavedModuleTensors(saved, gpt2), [&](const std::string& name) {
        return absl::StrCat(under_lora ? "base_model.model." : "base_model.", PeftModulePath(name));
      });
    }
    plan.push_back(std::move(directory));
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
    for (AdapterFile::Tensor& planned : directory.adapter.tensors) {
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

std::string PartsText(const MethodConfig& parts, const Gpt2Config& gpt2) {
  std::vector<std::string> lines;
  for (const Method* method : MethodsOf(parts)) {
    const std::string summary = method->Summary(parts, gpt2);
    if (!summary.empty()) lines.push_back(absl::StrCat("- ", summary));
  }
  return absl::StrJoin(lines, "\n");
}

std::string Readme(const MethodConfig& parts, const Gpt2Config& gpt2,
                   const AdapterWriteOptions& options, const std::string& snippet) {
  const std::string& base = options.base_model_name;
  std::string text = "---\n";
  if (!base.empty()) absl::StrAppend(&text, "base_model: ", Quoted(base), "\n");
  absl::StrAppend(
      &text, "library_name: peft\npipeline_tag: text-generation\ntags:\n- gpt2\n- graft\n---\n\n# ",
      options.title.empty() ? "GPT-2 adapter" : options.title,
      "\n\nA PEFT adapter for a GPT-2, trained with graft. It consists of\n\n",
      PartsText(parts, gpt2), "\n\n## How to load it\n\n```python\n", snippet, "```\n");
  if (parts.Has(LastLayersConfig::kMethod)) {
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

std::vector<TensorShape> AdapterTensorShapes(const MethodConfig& parts, const Gpt2Config& gpt2) {
  std::vector<TensorShape> shapes;
  for (const Method* method : MethodsOf(parts)) {
    for (TensorShape& tensor : method->Tensors(parts, gpt2)) shapes.push_back(std::move(tensor));
  }
  return shapes;
}

absl::StatusOr<std::vector<std::string>> AdapterSubdirectories(const MethodConfig& parts,
                                                               const AdapterWriteOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<const Method*> adapters, AdaptersOf(parts, options));
  if (adapters.size() == 1) return std::vector<std::string>{""};
  std::vector<std::string> directories;
  for (const Method* method : adapters) directories.push_back(method->directory());
  return directories;
}

absl::StatusOr<std::vector<AdapterFile>> PlanAdapter(const Gpt2Config& gpt2,
                                                     const MethodConfig& parts,
                                                     const std::vector<TensorInfo>& tensors,
                                                     const AdapterWriteOptions& options) {
  ASSIGN_OR_RETURN(std::vector<PlannedDirectory> plan, Plan(parts, gpt2, options));
  RETURN_IF_ERROR(TakeTensors(plan, tensors));
  std::vector<AdapterFile> files;
  for (PlannedDirectory& planned : plan) {
    files.push_back({JoinPath(planned.subdirectory, "adapter_config.json"),
                     std::move(planned.adapter.config),
                     {}});
    files.push_back({JoinPath(planned.subdirectory, "adapter_model.safetensors"), "",
                     std::move(planned.adapter.tensors)});
  }
  ASSIGN_OR_RETURN(const std::string snippet,
                   PeftSnippet(parts, options, "path/to/this/directory"));
  files.push_back({"README.md", Readme(parts, gpt2, options, snippet), {}});
  return files;
}

absl::StatusOr<SafetensorsStream> StreamWeights(const AdapterFile& file,
                                                SafetensorsStream::ElementSource source) {
  std::vector<TensorInfo> stored;
  std::map<std::string, std::string> ours;
  for (const AdapterFile::Tensor& tensor : file.tensors) {
    stored.push_back(tensor.stored);
    ours[tensor.stored.name] = tensor.name;
  }
  return SafetensorsStream::Create(
      std::move(stored), kPyTorchMetadata,
      [source = std::move(source), ours = std::move(ours)](const TensorInfo& tensor, int64_t first,
                                                           int64_t count, std::string& bytes) {
        TensorInfo own = tensor;
        own.name = ours.at(tensor.name);
        if (!own.name.empty()) return source(own, first, count, bytes);
        bytes.append(static_cast<size_t>(count * ItemSizeBytes(tensor.dtype)), '\0');
        return absl::OkStatus();
      });
}

absl::StatusOr<std::vector<std::string>> WriteAdapter(const std::string& directory,
                                                      const Gpt2Config& gpt2,
                                                      const MethodConfig& parts,
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

absl::StatusOr<std::string> PeftSnippet(const MethodConfig& parts,
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
    const bool merge = subdirectory == kAdapterDirectories[0];
    absl::StrAppend(&lines, "model = PeftModel.from_pretrained(model, ", Quoted(path), ")",
                    merge ? kMerge : "", "\n");
  }
  return lines;
}

}  // namespace graft
