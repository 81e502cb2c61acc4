#include "common/methods/adapter_export.h"

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/formats/graft_json.h"
#include "common/formats/json_util.h"
#include "common/methods/method.h"
#include "common/methods/peft_fields.h"

namespace graft {
namespace {

constexpr char kExportedConfig[] = "adapter_config.json";
constexpr int64_t kMaxExportedBytes = int64_t{16} << 20;
constexpr int64_t kHashBytes = 1 << 20;
constexpr int kGraftJsonIndent = 2;

absl::StatusOr<std::string> SpellOut(const std::string& text, const Gpt2Config& gpt2) {
  ASSIGN_OR_RETURN(const nlohmann::json config, ParseJsonObject(text));
  ASSIGN_OR_RETURN(const Method* const method, MethodOfPeftConfig(config));
  return method->SpellOutForOldPeft(text, gpt2);
}

absl::StatusOr<ManifestFile> Describe(const AdapterExport& exported, const AdapterFile& file) {
  if (file.tensors.empty()) {
    return ManifestFile{file.path, static_cast<int64_t>(file.text.size()), Sha256Hex(file.text)};
  }
  ASSIGN_OR_RETURN(SafetensorsStream stream, exported.Weights(file));
  Sha256 hash;
  while (true) {
    ASSIGN_OR_RETURN(const std::string bytes, stream.Next(kHashBytes));
    if (bytes.empty()) break;
    hash.Update(bytes);
  }
  return ManifestFile{file.path, stream.size_bytes(), hash.Hex()};
}

}  // namespace

absl::StatusOr<std::unique_ptr<const AdapterExport>> AdapterExport::Make(
    const std::string& directory, const std::vector<ManifestFile>& stored, const Gpt2Config& gpt2,
    const AdapterWriteOptions& options) {
  RETURN_IF_ERROR(PeftFieldSet(options.peft_version).status());
  ASSIGN_OR_RETURN(AdapterFolder adapter, AdapterFolder::Open(directory, gpt2));
  std::unique_ptr<AdapterExport> exported(new AdapterExport(std::move(adapter), stored));
  absl::Status converted = exported->ConvertConfigs(directory, gpt2, options.peft_version);
  const bool can_be_said_anew = absl::c_all_of(MethodsOf(exported->adapter_.parts()),
                                               [](const Method* part) { return part->says_all(); });
  if (absl::IsInvalidArgument(converted) && can_be_said_anew) {
    converted = exported->WriteAnew(gpt2, options);
  }
  RETURN_IF_ERROR(converted);
  RETURN_IF_ERROR(exported->CorrectGraftJson(directory, options));
  return exported;
}

absl::Status AdapterExport::ConvertConfigs(const std::string& directory, const Gpt2Config& gpt2,
                                           const std::string& peft_version) {
  ASSIGN_OR_RETURN(const std::string fields, PeftFieldSet(peft_version));
  std::vector<AdapterFile> configs;
  for (const ManifestFile& file : kept_) {
    if (BaseName(file.path) != kExportedConfig) continue;
    ASSIGN_OR_RETURN(std::string text, ReadFile(JoinPath(directory, file.path), kMaxExportedBytes));
    if (IsBeforePeft(fields, 17)) {
      absl::StatusOr<std::string> spelled_out = SpellOut(text, gpt2);
      if (!spelled_out.ok()) return Annotate(spelled_out.status(), file.path);
      text = *std::move(spelled_out);
    }
    absl::StatusOr<std::string> converted = ConvertPeftConfigJson(text, fields);
    if (!converted.ok()) return Annotate(converted.status(), file.path);
    configs.push_back({file.path, *std::move(converted), {}});
  }
  for (const AdapterFile& config : configs) Drop(config.path);
  made_ = std::move(configs);
  return absl::OkStatus();
}

absl::Status AdapterExport::WriteAnew(const Gpt2Config& gpt2, const AdapterWriteOptions& options) {
  AdapterWriteOptions own = options;
  own.base_model_name = adapter_.base_model_name();
  const std::vector<TensorInfo> tensors(adapter_.tensors().begin(), adapter_.tensors().end());
  ASSIGN_OR_RETURN(made_, PlanAdapter(gpt2, adapter_.parts(), tensors, own));
  std::erase_if(kept_, [](const ManifestFile& file) {
    const std::string name = BaseName(file.path);
    return name == kExportedConfig || name == "adapter_model.safetensors" ||
           file.path == "README.md";
  });
  return absl::OkStatus();
}

absl::Status AdapterExport::CorrectGraftJson(const std::string& directory,
                                             const AdapterWriteOptions& options) {
  if (absl::c_none_of(kept_, [](const ManifestFile& file) { return file.path == kGraftJson; })) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string text,
                   ReadFile(JoinPath(directory, kGraftJson), kMaxGraftJsonBytes));
  absl::StatusOr<nlohmann::json> json = ParseJsonObject(text);
  if (!json.ok()) return Annotate(json.status(), kGraftJson);
  std::set<std::string> listed;
  if (const auto files = json->find("files"); files != json->end() && files->is_array()) {
    for (const nlohmann::json& file : *files) {
      if (file.is_object() && file.contains("path") && file["path"].is_string()) {
        listed.insert(file["path"].get<std::string>());
      }
    }
  }
  nlohmann::json files = nlohmann::json::array();
  const auto add = [&](const ManifestFile& file) {
    files.push_back(
        {{"path", file.path}, {"size_bytes", file.size_bytes}, {"sha256", file.sha256}});
  };
  for (const AdapterFile& file : made_) {
    ASSIGN_OR_RETURN(const ManifestFile described, Describe(*this, file));
    add(described);
  }
  for (const ManifestFile& file : kept_) {
    if (listed.contains(file.path)) add(file);
  }
  (*json)["files"] = files;
  (*json)["exported_for"] = {{"peft_version", options.peft_version}};
  (*json)["load_order"] = nlohmann::json::array();
  for (const AdapterFile& file : made_) {
    if (BaseName(file.path) != kExportedConfig) continue;
    const bool alone = file.path == kExportedConfig;
    (*json)["load_order"].push_back(alone ? std::string() : DirectoryOf(file.path));
  }
  Drop(kGraftJson);
  made_.push_back({kGraftJson, json->dump(kGraftJsonIndent) + "\n", {}});
  return absl::OkStatus();
}

void AdapterExport::Drop(absl::string_view path) {
  std::erase_if(kept_, [&](const ManifestFile& file) { return file.path == path; });
}

absl::StatusOr<SafetensorsStream> AdapterExport::Weights(const AdapterFile& file) const {
  return StreamWeights(
      file, [this](const TensorInfo& tensor, int64_t first, int64_t count, std::string& bytes) {
        const int64_t item_size = ItemSizeBytes(tensor.dtype);
        const std::byte* begin = adapter_.Find(tensor.name)->bytes.data() + first * item_size;
        bytes.append(reinterpret_cast<const char*>(begin), static_cast<size_t>(count * item_size));
        return absl::OkStatus();
      });
}

}  // namespace graft
