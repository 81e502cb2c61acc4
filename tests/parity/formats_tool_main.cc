// graft-formats-tool: gives common/formats to the parity tests, which run the reference libraries
// beside it. Reads one JSON command a line on stdin, answers one JSON line each. For tests only.
//
//   {"op": "rewrite_safetensors", "from": F, "to": F}  reads a file and writes it again → {}
//   {"op": "parse_safetensors", "hex": BYTES}          → {"tensors": {NAME: SHA256…}}
//   {"op": "open_model", "folder": F}                  → {"tensors": …, "tied": B, "unused": […]}
//   {"op": "write_model", "from": F, "to": F}          reads a model folder and writes it again →
//   {}
//   {"op": "write_adapter", "folder": F, "model": F, "weights": F, "parts": P, "peft_version": V}
//                  weights: safetensors with graft's names → {"files": […], "snippet": TEXT}
//   {"op": "adapter_shapes", "model": F, "parts": P}   → {NAME: [SHAPE]…}
//   {"op": "open_adapter", "folder": F, "model": F}
//                  → {"tensors": …, "modules": {NAME: [RANK, SCALING]…}, "saved": […], "prompt": N}
//   {"op": "export_adapter", "from": F, "files": […], "to": F, "model": F,
//    "peft_version": V} → {}
//   {"op": "merge_adapter", "adapter": F, "to": F, "model": F, "dtype": NAME}
//                  config.json and model.safetensors → {}
//   {"op": "convert_config", "json": TEXT, "peft_version": V}       → {"json": TEXT}
//   {"op": "metrics", "rows": [[STEP, EPOCH, TIME, {NAME: X…}]…], "folder": F}
//                  writes metrics.jsonl, trainer_state.json and the TensorBoard file → {}
// What fails answers {"error": MESSAGE, "code": NAME}.

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/formats/metrics_jsonl.h"
#include "common/formats/model_folder.h"
#include "common/formats/safetensors.h"
#include "common/formats/tensorboard.h"
#include "common/formats/trainer_state.h"
#include "common/methods/adapter_export.h"
#include "common/methods/adapter_files.h"
#include "common/methods/dora.h"
#include "common/methods/last_layers.h"
#include "common/methods/lora.h"
#include "common/methods/merge_adapter.h"
#include "common/methods/peft_fields.h"
#include "common/methods/peft_lora.h"
#include "common/methods/prefix_tuning.h"
#include "common/methods/soft_prompt.h"
#include "tests/parity/line_tool.h"

namespace graft {
namespace {

using Json = nlohmann::json;

Json Hashes(const std::vector<TensorView>& tensors) {
  Json hashes = Json::object();
  for (const TensorView& tensor : tensors) {
    hashes[tensor.name] =
        Sha256Hex({reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()});
  }
  return hashes;
}

MethodConfig PartsOf(const Json& json) {
  MethodConfig parts;
  if (json.contains("lora")) {
    const Json& lora = json["lora"];
    const LoraConfig part{lora.value("rank", int64_t{8}),
                          lora.value("alpha", 16.0),
                          lora.value("dropout", 0.0),
                          lora.value("use_rslora", false),
                          lora.value("target_modules", std::vector<std::string>{"c_attn"}),
                          lora.value("layers", std::vector<int64_t>())};
    if (lora.value("use_dora", false)) {
      parts.Set(DoraConfig{part});
    } else {
      parts.Set(part);
    }
  }
  const int64_t tokens = json.value("num_virtual_tokens", int64_t{0});
  if (tokens > 0) parts.Set(SoftPromptConfig{.num_virtual_tokens = tokens});
  const int64_t prefix = json.value("num_prefix_tokens", int64_t{0});
  if (prefix > 0) parts.Set(PrefixTuningConfig{.num_virtual_tokens = prefix});
  auto saved = json.value("saved_modules", std::vector<std::string>());
  if (!saved.empty()) parts.Set(LastLayersConfig{0, false, false, std::move(saved)});
  return parts;
}

absl::StatusOr<Json> RewriteSafetensors(const Json& command) {
  ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(command.at("from")));
  RETURN_IF_ERROR(WriteSafetensorsFile(command.at("to"), file.tensors(), file.metadata()));
  return Json::object();
}

absl::StatusOr<Json> ParseSafetensors(const Json& command) {
  const std::string bytes = absl::HexStringToBytes(command.at("hex").get<std::string>());
  ASSIGN_OR_RETURN(const SafetensorsFile file,
                   SafetensorsFile::Parse(std::as_bytes(std::span(bytes.data(), bytes.size()))));
  return Json{{"tensors", Hashes(file.tensors())}};
}

absl::StatusOr<Json> OpenModel(const Json& command) {
  ASSIGN_OR_RETURN(const ModelFolder model, ModelFolder::Open(command.at("folder")));
  return Json{{"tensors", Hashes(model.tensors())},
              {"tied", model.config().tie_word_embeddings},
              {"unused", model.unused()}};
}

absl::StatusOr<Json> WriteModel(const Json& command) {
  const std::string from = command.at("from");
  ASSIGN_OR_RETURN(const ModelFolder model, ModelFolder::Open(from));
  const std::vector<TensorInfo> infos(model.tensors().begin(), model.tensors().end());
  RETURN_IF_ERROR(WriteModelFolder(
      command.at("to"), model.config(), infos,
      [&](const TensorInfo& tensor) -> absl::StatusOr<std::span<const std::byte>> {
        return model.Find(tensor.name)->bytes;
      },
      from));
  return Json::object();
}

absl::StatusOr<Json> AdapterShapes(const Json& command) {
  ASSIGN_OR_RETURN(const ModelFolder model, ModelFolder::Open(command.at("model")));
  MethodConfig parts = PartsOf(command.at("parts"));
  const bool is_dora = parts.Has(DoraConfig::kMethod);
  if (is_dora || parts.Has(LoraConfig::kMethod)) {
    LoraConfig& lora = is_dora ? parts.Get<DoraConfig>() : parts.Get<LoraConfig>();
    PeftLoraConfig peft;
    peft.rank = lora.rank;
    peft.target_modules = lora.target_modules;
    peft.layers_to_transform = lora.layers;
    for (const std::string& saved : SavedModules(parts, model.config().n_layer)) {
      peft.modules_to_save.push_back(PeftModulePath(saved));
    }
    ASSIGN_OR_RETURN(lora.modules, ResolveLoraModules(peft, model.config()));
  }
  Json shapes = Json::object();
  for (const TensorShape& tensor : AdapterTensorShapes(parts, model.config())) {
    shapes[tensor.name] = tensor.shape;
  }
  return shapes;
}

absl::StatusOr<Json> WriteAdapterFiles(const Json& command) {
  ASSIGN_OR_RETURN(const ModelFolder model, ModelFolder::Open(command.at("model")));
  ASSIGN_OR_RETURN(const SafetensorsFile weights, SafetensorsFile::Open(command.at("weights")));
  const std::vector<TensorInfo> infos(weights.tensors().begin(), weights.tensors().end());
  AdapterWriteOptions options;
  options.base_model_name = command.at("model");
  options.peft_version = command.value("peft_version", std::string(kDefaultPeftVersion));
  const MethodConfig parts = PartsOf(command.at("parts"));
  ASSIGN_OR_RETURN(const std::vector<std::string> files,
                   WriteAdapter(
                       command.at("folder"), model.config(), parts, infos,
                       [&](const TensorInfo& tensor) -> absl::StatusOr<std::span<const std::byte>> {
                         return weights.Find(tensor.name)->bytes;
                       },
                       options));
  ASSIGN_OR_RETURN(const std::string snippet, PeftSnippet(parts, options, command.at("folder")));
  return Json{{"files", files}, {"snippet", snippet}};
}

absl::StatusOr<Json> OpenAdapter(const Json& command) {
  ASSIGN_OR_RETURN(const ModelFolder model, ModelFolder::Open(command.at("model")));
  ASSIGN_OR_RETURN(const AdapterFolder adapter,
                   AdapterFolder::Open(command.at("folder"), model.config()));
  Json modules = Json::object();
  if (const LoraConfig* lora = adapter.parts().Find<LoraConfig>(); lora != nullptr) {
    for (const LoraModule& module : lora->modules) {
      modules[module.name] = {module.rank, module.scaling};
    }
  }
  return Json{{"tensors", Hashes(adapter.tensors())},
              {"modules", modules},
              {"saved", SavedModules(adapter.parts(), model.config().n_layer)},
              {"prompt", NumVirtualTokens(adapter.parts())}};
}

absl::Status WriteStream(const std::string& path, absl::StatusOr<SafetensorsStream> stream) {
  constexpr int64_t kPieceBytes = 1 << 20;
  RETURN_IF_ERROR(stream.status());
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  while (true) {
    ASSIGN_OR_RETURN(const std::string bytes, stream->Next(kPieceBytes));
    if (bytes.empty()) return file.Commit();
    RETURN_IF_ERROR(file.Append(bytes));
  }
}

absl::StatusOr<Json> ExportAdapter(const Json& command) {
  const std::string from = command.at("from");
  const std::string to = command.at("to");
  ASSIGN_OR_RETURN(const ModelFolder model, ModelFolder::Open(command.at("model")));
  std::vector<ManifestFile> stored;
  for (const auto& path : command.at("files")) {
    ASSIGN_OR_RETURN(ManifestFile file, DescribeFile(from, path));
    stored.push_back(std::move(file));
  }
  AdapterWriteOptions options;
  options.peft_version = command.at("peft_version");
  ASSIGN_OR_RETURN(const auto exported, AdapterExport::Make(from, stored, model.config(), options));
  for (const ManifestFile& file : exported->kept()) {
    ASSIGN_OR_RETURN(const std::string bytes, ReadFile(JoinPath(from, file.path), file.size_bytes));
    RETURN_IF_ERROR(CreateDirectories(DirectoryOf(JoinPath(to, file.path))));
    RETURN_IF_ERROR(WriteFileAtomically(JoinPath(to, file.path), bytes));
  }
  for (const AdapterFile& file : exported->made()) {
    const std::string path = JoinPath(to, file.path);
    RETURN_IF_ERROR(CreateDirectories(DirectoryOf(path)));
    RETURN_IF_ERROR(file.tensors.empty() ? WriteFileAtomically(path, file.text)
                                         : WriteStream(path, exported->Weights(file)));
  }
  return Json::object();
}

absl::StatusOr<Json> MergeAdapter(const Json& command) {
  const std::string to = command.at("to");
  ASSIGN_OR_RETURN(const DType dtype, ParseDType(command.at("dtype").get<std::string>()));
  ASSIGN_OR_RETURN(const auto merged,
                   MergedModel::Open(command.at("model"), command.at("adapter"), dtype));
  RETURN_IF_ERROR(CreateDirectories(to));
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(to, "config.json"), merged->ConfigJson()));
  RETURN_IF_ERROR(WriteStream(JoinPath(to, "model.safetensors"), merged->Weights()));
  return Json::object();
}

absl::StatusOr<Json> ConvertConfig(const Json& command) {
  ASSIGN_OR_RETURN(const std::string json,
                   ConvertPeftConfigJson(command.at("json").get<std::string>(),
                                         command.at("peft_version").get<std::string>()));
  return Json{{"json", json}};
}

absl::StatusOr<Json> WriteMetrics(const Json& command) {
  std::vector<MetricRow> rows;
  for (const Json& row : command.at("rows")) {
    rows.push_back({row[0], row[1], row[2], row[3].get<std::map<std::string, double>>()});
  }
  const std::string folder = command.at("folder");
  const TrainerStateInfo info{.max_steps = 100,
                              .num_train_epochs = 3,
                              .train_batch_size = 8,
                              .eval_steps = 10,
                              .best_metric = 1.5,
                              .best_global_step = 2};
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(folder, "metrics.jsonl"), MetricsJsonl(rows)));
  RETURN_IF_ERROR(
      WriteFileAtomically(JoinPath(folder, "trainer_state.json"), TrainerStateJson(rows, info)));
  RETURN_IF_ERROR(
      WriteFileAtomically(JoinPath(folder, TensorBoardFileName(rows)), TensorBoardEvents(rows)));
  return Json::object();
}

absl::StatusOr<Json> Run(const Json& command) {
  static const auto& ops = *new std::map<std::string, absl::StatusOr<Json> (*)(const Json&)>{
      {"rewrite_safetensors", RewriteSafetensors},
      {"parse_safetensors", ParseSafetensors},
      {"open_model", OpenModel},
      {"write_model", WriteModel},
      {"adapter_shapes", AdapterShapes},
      {"write_adapter", WriteAdapterFiles},
      {"open_adapter", OpenAdapter},
      {"export_adapter", ExportAdapter},
      {"merge_adapter", MergeAdapter},
      {"convert_config", ConvertConfig},
      {"metrics", WriteMetrics}};
  const auto found = ops.find(command.at("op").get<std::string>());
  if (found == ops.end()) return absl::InvalidArgumentError("unknown op");
  return found->second(command);
}

}  // namespace
}  // namespace graft

int main() { return graft::AnswerLines(graft::Run); }
