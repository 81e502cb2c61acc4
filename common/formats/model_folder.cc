#include "common/formats/model_folder.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/formats/float_convert.h"
#include "common/formats/json_util.h"

namespace graft {
namespace {

constexpr char kConfig[] = "config.json";
constexpr char kWeights[] = "model.safetensors";
constexpr char kWeightIndex[] = "model.safetensors.index.json";

// Mask buffers that GPT-2 checkpoints of old transformers versions carry; they are no weights.
bool IsMaskBuffer(absl::string_view name) {
  return absl::EndsWith(name, ".attn.bias") || absl::EndsWith(name, ".attn.masked_bias");
}

bool SameTensor(const TensorView& a, const TensorView& b) {
  return a.dtype == b.dtype && a.shape == b.shape &&
         std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0;
}

using FoundTensors = absl::flat_hash_map<std::string, const TensorView*>;

// Biases that a model may do without, if it does in all layers.
constexpr const char* kOptionalBiases[] = {"attn.c_attn.bias", "attn.c_proj.bias", "mlp.c_fc.bias",
                                           "mlp.c_proj.bias"};

std::vector<std::string> BiasesOfNoLayer(const Gpt2Config& config, const FoundTensors& found) {
  std::vector<std::string> absent;
  for (const char* bias : kOptionalBiases) {
    bool any = false;
    for (int64_t layer = 0; layer < config.n_layer && !any; ++layer) {
      any = found.contains(absl::StrCat("h.", layer, ".", bias));
    }
    if (!any) absent.push_back(bias);
  }
  return absent;
}

// "attn.c_attn.bias" of "h.3.attn.c_attn.bias"; the whole name outside the layers.
absl::string_view WithoutLayer(absl::string_view name) {
  if (!absl::StartsWith(name, "h.")) return name;
  return name.substr(name.find('.', 2) + 1);
}

// What is wrong with each of the expected tensors; empty when nothing is.
std::vector<std::string> Problems(const std::vector<TensorShape>& expected,
                                  const FoundTensors& found,
                                  const std::vector<std::string>& zero_filled) {
  std::vector<std::string> problems;
  for (const TensorShape& tensor : expected) {
    const auto it = found.find(tensor.name);
    if (it == found.end()) {
      if (absl::c_linear_search(zero_filled, WithoutLayer(tensor.name))) continue;
      problems.push_back(absl::StrCat(tensor.name, " ", ShapeText(tensor.shape), " is missing"));
    } else if (it->second->shape != tensor.shape) {
      problems.push_back(absl::StrCat(tensor.name, " has shape ", ShapeText(it->second->shape),
                                      ", but config.json makes it ", ShapeText(tensor.shape)));
    } else if (!IsFloat(it->second->dtype)) {
      problems.push_back(absl::StrCat(tensor.name, " is ", DTypeName(it->second->dtype),
                                      "; only F64, F32, F16 and BF16 are weights"));
    }
  }
  return problems;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ListWeightFiles(const std::string& folder) {
  if (FileExists(JoinPath(folder, kWeights))) return std::vector<std::string>{kWeights};
  const std::string index_path = JoinPath(folder, kWeightIndex);
  if (!FileExists(index_path)) {
    return absl::NotFoundError(absl::StrCat(
        folder, " has neither ", kWeights, " nor ", kWeightIndex,
        FileExists(JoinPath(folder, "pytorch_model.bin"))
            ? "; pytorch_model.bin is not read: save the model as safetensors with transformers"
            : ""));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(index_path, kMaxWeightIndexBytes));
  absl::StatusOr<nlohmann::json> index = ParseJsonObject(text);
  if (!index.ok()) return Annotate(index.status(), index_path);
  const auto map = index->find("weight_map");
  if (map == index->end() || !map->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(index_path, ": weight_map is missing"));
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !IsSafeFileName(file.get<std::string>())) {
      return absl::InvalidArgumentError(absl::StrCat(
          index_path, ": weight_map names no plain file for '", Shortened(tensor, 200), "'"));
    }
    names.insert(file.get<std::string>());
  }
  if (names.empty() || names.size() > static_cast<size_t>(kMaxWeightShards)) {
    return absl::InvalidArgumentError(absl::StrCat(index_path, ": ", names.size(), " shards; 1 to ",
                                                   kMaxWeightShards, " are allowed"));
  }
  return std::vector<std::string>(names.begin(), names.end());
}

absl::StatusOr<ModelFolder> ModelFolder::Open(const std::string& folder) {
  if (!DirectoryExists(folder)) {
    return absl::NotFoundError(absl::StrCat("there is no model folder ", folder));
  }
  ModelFolder model;
  ASSIGN_OR_RETURN(model.config_, ReadGpt2Config(folder));
  RETURN_IF_ERROR(model.OpenWeights(folder));
  if (absl::Status status = model.Resolve(); !status.ok()) return Annotate(status, folder);
  return model;
}

absl::Status ModelFolder::OpenWeights(const std::string& folder) {
  ASSIGN_OR_RETURN(weight_files_, ListWeightFiles(folder));
  for (const std::string& name : weight_files_) {
    ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(JoinPath(folder, name)));
    files_.push_back(std::make_unique<SafetensorsFile>(std::move(file)));
  }
  return absl::OkStatus();
}

absl::Status ModelFolder::Resolve() {
  FoundTensors found;
  std::vector<std::string> problems;
  for (const auto& file : files_) {
    for (const TensorView& tensor : file->tensors()) {
      if (IsMaskBuffer(tensor.name)) continue;
      const std::string name(absl::StripPrefix(tensor.name, "transformer."));
      if (!found.emplace(name, &tensor).second) {
        problems.push_back(absl::StrCat(name, " is stored twice"));
      }
    }
  }
  // A stored head decides (transformers 5): the same bytes as wte are a tied head, others an untied
  // one.
  const auto head = found.find("lm_head.weight");
  const auto embedding = found.find("wte.weight");
  if (head != found.end() && embedding != found.end()) {
    config_.tie_word_embeddings =
        config_.tie_word_embeddings && SameTensor(*head->second, *embedding->second);
  }
  const std::vector<TensorShape> expected = Gpt2TensorShapes(config_, !config_.tie_word_embeddings);
  zero_filled_ = BiasesOfNoLayer(config_, found);
  for (std::string& problem : Problems(expected, found, zero_filled_)) {
    problems.push_back(std::move(problem));
  }
  if (!problems.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the weights do not fit: ", absl::StrJoin(problems, "; ")));
  }
  zeros_.resize(static_cast<size_t>(std::max(3 * config_.n_embd, config_.n_inner)) * sizeof(float));
  for (const TensorShape& tensor : expected) {
    const auto it = found.find(tensor.name);
    TensorView view;
    if (it != found.end()) {
      view = *it->second;
      view.name = tensor.name;
    } else {
      view = {{tensor.name, DType::kF32, tensor.shape},
              std::span(zeros_).first(static_cast<size_t>(tensor.shape[0]) * sizeof(float))};
    }
    index_.emplace(view.name, tensors_.size());
    tensors_.push_back(std::move(view));
  }
  for (const auto& [name, tensor] : found) {
    if (!index_.contains(name) && name != "lm_head.weight") unused_.push_back(tensor->name);
  }
  std::sort(unused_.begin(), unused_.end());
  return absl::OkStatus();
}

const TensorView* ModelFolder::Find(absl::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

absl::StatusOr<std::vector<std::string>> ListModelFiles(const std::string& folder) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, ListWeightFiles(folder));
  if (names != std::vector<std::string>{kWeights}) names.push_back(kWeightIndex);
  names.push_back(kConfig);
  for (const char* name : kTokenizerFiles) {
    if (FileExists(JoinPath(folder, name))) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<ModelManifest> MakeModelManifest(const std::string& folder) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListModelFiles(folder));
  ModelManifest manifest;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(ManifestFile file, DescribeFile(folder, name));
    manifest.files.push_back(std::move(file));
  }
  manifest.sha256 = ManifestSha256(manifest.files);
  return manifest;
}

}  // namespace graft
