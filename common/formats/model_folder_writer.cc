#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/model_folder.h"

namespace graft {
namespace {

constexpr char kHead[] = "lm_head.weight";
constexpr int64_t kMaxTokenizerFileBytes = int64_t{256} << 20;

absl::Status CheckComplete(const Gpt2Config& config, const std::vector<TensorInfo>& tensors) {
  absl::flat_hash_map<absl::string_view, const TensorInfo*> given;
  std::vector<std::string> problems;
  for (const TensorInfo& tensor : tensors) {
    if (!given.emplace(tensor.name, &tensor).second) {
      problems.push_back(absl::StrCat(tensor.name, " is given twice"));
    }
    if (tensor.dtype != tensors.front().dtype) {
      problems.push_back(
          absl::StrCat(tensor.name, " has another dtype than ", tensors.front().name));
    }
  }
  for (const TensorShape& expected : Gpt2TensorShapes(config, !config.tie_word_embeddings)) {
    const auto found = given.find(expected.name);
    if (found == given.end()) {
      problems.push_back(absl::StrCat(expected.name, " is missing"));
      continue;
    }
    if (found->second->shape != expected.shape) {
      problems.push_back(absl::StrCat(expected.name, " has shape ", ShapeText(found->second->shape),
                                      ", not ", ShapeText(expected.shape)));
    }
    given.erase(found);
  }
  for (const auto& [name, tensor] : given) {
    problems.push_back(absl::StrCat(name, " is no tensor of this model"));
  }
  if (problems.empty()) return absl::OkStatus();
  std::sort(problems.begin(), problems.end());
  return absl::InvalidArgumentError(absl::StrJoin(problems, "; "));
}

absl::Status WriteWeights(const std::string& path, const std::vector<TensorInfo>& tensors,
                          TensorSource source) {
  std::vector<TensorInfo> stored = tensors;
  for (TensorInfo& tensor : stored) tensor.name = StoredTensorName(tensor.name);
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(WriteSafetensors(
      std::move(stored), kPyTorchMetadata,
      [&](const TensorInfo& tensor) {
        TensorInfo own = tensor;
        own.name = std::string(absl::StripPrefix(own.name, "transformer."));
        return source(own);
      },
      [&](absl::string_view bytes) { return file.Append(bytes); }));
  return file.Commit();
}

}  // namespace

absl::StatusOr<absl::string_view> TorchDType(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "float32";
    case DType::kF16:
      return "float16";
    case DType::kBF16:
      return "bfloat16";
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("a model folder is written in F32, F16 or BF16, not ", DTypeName(dtype)));
  }
}

std::string StoredTensorName(absl::string_view name) {
  return name == kHead ? std::string(name) : absl::StrCat("transformer.", name);
}

absl::Status WriteModelFolder(const std::string& folder, const Gpt2Config& config,
                              const std::vector<TensorInfo>& tensors, TensorSource source,
                              const std::string& tokenizer_folder) {
  if (absl::Status status = CheckComplete(config, tensors); !status.ok()) {
    return Annotate(status, absl::StrCat("cannot write ", folder));
  }
  ASSIGN_OR_RETURN(const absl::string_view dtype, TorchDType(tensors.front().dtype));
  RETURN_IF_ERROR(CreateDirectories(folder));
  const std::string config_path = JoinPath(folder, "config.json");
  if (FileExists(config_path)) RETURN_IF_ERROR(RemoveFile(config_path));
  RETURN_IF_ERROR(WriteWeights(JoinPath(folder, "model.safetensors"), tensors, source));
  for (const char* name : kTokenizerFiles) {
    const std::string from = JoinPath(tokenizer_folder, name);
    if (!FileExists(from)) continue;
    ASSIGN_OR_RETURN(const std::string content, ReadFile(from, kMaxTokenizerFileBytes));
    RETURN_IF_ERROR(WriteFileAtomically(JoinPath(folder, name), content));
  }
  return WriteFileAtomically(config_path, Gpt2ConfigJson(config, dtype));
}

}  // namespace graft
