#include "worker/engine/training/training_state.h"

#include <ATen/ATen.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/formats/safetensors.h"
#include "worker/engine/failure.h"
#include "worker/engine/gpt2/tensor_io.h"

namespace graft {
namespace {

using Json = nlohmann::json;

constexpr int kFormat = 2;
constexpr char kTensorsFile[] = "state.safetensors";
constexpr char kJsonFile[] = "state.json";
constexpr char kSumsFile[] = "SHA256SUMS";
constexpr int64_t kMaxJsonBytes = int64_t{16} << 20;

// JSON has no NaN and no infinity: they are written as text.
Json FromDouble(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

double ToDouble(const Json& json) {
  if (!json.is_string()) return json.get<double>();
  const std::string text = json.get<std::string>();
  if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  return text == "inf" ? infinity : -infinity;
}

Json FromEvaluation(const EvaluationEvent& event) {
  Json values = Json::object();
  for (const auto& [name, value] : event.values) values[name] = FromDouble(value);
  return {{"step", event.step},
          {"epoch", FromDouble(event.epoch)},
          {"values", values},
          {"num_samples", event.num_samples},
          {"num_loss_tokens", event.num_loss_tokens},
          {"is_best", event.is_best},
          {"seconds", FromDouble(event.seconds)},
          {"use_stemmer", event.use_stemmer},
          {"sentence_splitter", event.sentence_splitter},
          {"decoding", event.decoding},
          {"max_new_tokens", event.max_new_tokens},
          {"max_source_tokens", event.max_source_tokens},
          {"samples_sha256", event.samples_sha256},
          {"truncated_sources", event.truncated_sources}};
}

EvaluationEvent ToEvaluation(const Json& json) {
  EvaluationEvent event;
  event.step = json.at("step");
  event.epoch = ToDouble(json.at("epoch"));
  for (const auto& [name, value] : json.at("values").items()) event.values[name] = ToDouble(value);
  event.num_samples = json.at("num_samples");
  event.num_loss_tokens = json.at("num_loss_tokens");
  event.is_best = json.at("is_best");
  event.seconds = ToDouble(json.at("seconds"));
  event.use_stemmer = json.at("use_stemmer");
  event.sentence_splitter = json.at("sentence_splitter");
  event.decoding = json.at("decoding");
  event.max_new_tokens = json.at("max_new_tokens");
  event.max_source_tokens = json.at("max_source_tokens");
  event.samples_sha256 = json.at("samples_sha256");
  event.truncated_sources = json.at("truncated_sources");
  return event;
}

Json FromState(const TrainingState& state) {
  return {{"format", kFormat},
          {"fingerprint", state.fingerprint},
          {"execution",
           {{"revision", state.execution.revision},
            {"device", state.execution.device},
            {"precision", state.execution.precision},
            {"threads", state.execution.threads}}},
          {"optimizer", state.optimizer},
          {"step", state.step},
          {"updates", state.updates},
          {"num_rows", state.num_rows},
          {"epoch", state.epoch},
          {"position", state.position},
          {"early_stopping",
           {{"evaluations", state.early_stopping.evaluations},
            {"best_value", FromDouble(state.early_stopping.best_value)},
            {"reset_value", FromDouble(state.early_stopping.reset_value)},
            {"without_improvement", state.early_stopping.without_improvement},
            {"stop", state.early_stopping.stop}}},
          {"best", FromEvaluation(state.best)},
          {"last", FromEvaluation(state.last)},
          {"tensors", state.names}};
}

Execution ToExecution(const Json& json) {
  return {json.at("revision"), json.at("device"), json.at("precision"), json.value("threads", 0)};
}

TrainingState ToState(const Json& json) {
  TrainingState state;
  state.fingerprint = json.at("fingerprint");
  state.execution = ToExecution(json.at("execution"));
  state.optimizer = json.at("optimizer");
  state.step = json.at("step");
  state.updates = json.at("updates");
  state.num_rows = json.at("num_rows");
  state.epoch = json.at("epoch");
  state.position = json.at("position");
  const Json& stopping = json.at("early_stopping");
  state.early_stopping.evaluations = stopping.at("evaluations");
  state.early_stopping.best_value = ToDouble(stopping.at("best_value"));
  state.early_stopping.reset_value = ToDouble(stopping.at("reset_value"));
  state.early_stopping.without_improvement = stopping.at("without_improvement");
  state.early_stopping.stop = stopping.at("stop");
  state.best = ToEvaluation(json.at("best"));
  state.last = ToEvaluation(json.at("last"));
  state.names = json.at("tensors").get<std::vector<std::string>>();
  return state;
}

// The lists of tensors under the prefixes that they have in the file.
std::vector<std::pair<std::string, std::vector<at::Tensor>*>> Lists(TrainingState& state) {
  return {{"trained/", &state.trained},
          {"exp_avg/", &state.exp_avgs},
          {"exp_avg_sq/", &state.exp_avg_sqs},
          {"best/", &state.best_tensors}};
}

// Writes one file and returns its hash, taken from the bytes on their way.
absl::StatusOr<std::string> WriteTensors(const TrainingState& state, const std::string& path) {
  std::map<std::string, at::Tensor> tensors;
  TrainingState handles = state;  // Copies handles, not bytes.
  for (const auto& [prefix, list] : Lists(handles)) {
    for (size_t i = 0; i < list->size(); ++i) tensors[prefix + state.names[i]] = (*list)[i];
  }
  std::vector<TensorInfo> infos;
  for (const auto& [name, tensor] : tensors) infos.push_back(InfoOf(name, tensor));
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  Sha256 hash;
  at::Tensor on_cpu;
  RETURN_IF_ERROR(WriteSafetensors(
      infos, {},
      [&](const TensorInfo& info) -> absl::StatusOr<std::span<const std::byte>> {
        on_cpu = tensors.at(info.name).to(at::kCPU).contiguous();
        return BytesOf(on_cpu);
      },
      [&](absl::string_view bytes) {
        hash.Update(bytes);
        return file.Append(bytes);
      }));
  RETURN_IF_ERROR(file.Commit());
  return hash.Hex();
}

absl::Status Damaged(const std::string& directory, absl::string_view file, absl::string_view how) {
  return absl::DataLossError(absl::StrCat("checkpoint ", directory, ": ", file, " ", how));
}

absl::Status CannotBeRead(const std::string& directory, const std::string& name) {
  const bool there = FileExists(JoinPath(directory, name));
  return Damaged(directory, name, there ? "cannot be read" : "is missing");
}

absl::Status CheckHash(const std::string& directory, const std::string& name,
                       const std::string& expected) {
  const absl::StatusOr<std::string> found = Sha256HexOfFile(JoinPath(directory, name));
  if (!found.ok()) return CannotBeRead(directory, name);
  if (*found == expected) return absl::OkStatus();
  return Damaged(directory, name, "is corrupt: its SHA-256 is not the recorded one");
}

// SHA256SUMS must be exactly the two lines that SaveTrainingState writes.
std::string Sums(const std::string& json_hash, const std::string& tensors_hash) {
  return absl::StrCat(json_hash, "  ", kJsonFile, "\n", tensors_hash, "  ", kTensorsFile, "\n");
}

}  // namespace

absl::Status CheckTrainingState(const std::string& directory) {
  const absl::StatusOr<std::string> sums = ReadFile(JoinPath(directory, kSumsFile), 4096);
  if (!sums.ok()) return CannotBeRead(directory, kSumsFile);
  const std::string json_hash = sums->substr(0, kSha256HexLength);
  const size_t second = kSha256HexLength + 2 + std::size(kJsonFile);
  const std::string tensors_hash =
      sums->size() > second ? sums->substr(second, kSha256HexLength) : "";
  if (*sums != Sums(json_hash, tensors_hash)) {
    return Damaged(directory, kSumsFile, "is not as it was written");
  }
  RETURN_IF_ERROR(CheckHash(directory, kJsonFile, json_hash));
  return CheckHash(directory, kTensorsFile, tensors_hash);
}

namespace {

// Reads state.json and hands it to `take`, which may throw what nlohmann's parser throws.
absl::Status ReadStateJson(const std::string& directory,
                           const std::function<void(const Json&)>& take) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(JoinPath(directory, kJsonFile), kMaxJsonBytes));
  try {
    const Json json = Json::parse(text);
    if (const int format = json.at("format"); format != kFormat) {
      return WithFailureClass(absl::FailedPreconditionError(
                                  absl::StrCat("checkpoint ", directory, ": has format ", format,
                                               ", this version of graft reads ", kFormat)),
                              FailureClass::kInfrastructure);
    }
    take(json);
  } catch (const Json::exception& error) {
    return Damaged(directory, kJsonFile, absl::StrCat("is no state: ", error.what()));
  }
  return absl::OkStatus();
}

absl::Status LoadTensors(const std::string& path, TrainingState& state) {
  ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(path));
  for (const auto& [prefix, list] : Lists(state)) {
    for (const std::string& name : state.names) {
      const TensorView* view = file.Find(prefix + name);
      if (view == nullptr && prefix == "best/") break;
      if (view == nullptr) {
        return absl::DataLossError(absl::StrCat(path, ": no tensor ", prefix, name));
      }
      ASSIGN_OR_RETURN(at::Tensor tensor, TensorFromView(*view));
      list->push_back(std::move(tensor));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> TrainingStateFiles() { return {kSumsFile, kJsonFile, kTensorsFile}; }

absl::StatusOr<int64_t> SaveTrainingState(const TrainingState& state,
                                          const std::string& directory) {
  const std::string partial =
      JoinPath(DirectoryOf(directory), absl::StrCat(".partial-", BaseName(directory)));
  RETURN_IF_ERROR(RemoveTree(partial));
  RETURN_IF_ERROR(CreateDirectories(partial));
  ASSIGN_OR_RETURN(const std::string tensors_hash,
                   WriteTensors(state, JoinPath(partial, kTensorsFile)));
  const std::string json = FromState(state).dump(2) + "\n";
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(partial, kJsonFile), json));
  RETURN_IF_ERROR(
      WriteFileAtomically(JoinPath(partial, kSumsFile), Sums(Sha256Hex(json), tensors_hash)));
  RETURN_IF_ERROR(CheckTrainingState(partial));
  int64_t size_bytes = 0;
  for (const std::string& name : TrainingStateFiles()) {
    ASSIGN_OR_RETURN(const int64_t bytes, FileSize(JoinPath(partial, name)));
    size_bytes += bytes;
  }
  RETURN_IF_ERROR(RemoveTree(directory));
  RETURN_IF_ERROR(RenameAndSync(partial, directory));
  return size_bytes;
}

absl::StatusOr<TrainingState> LoadTrainingState(const std::string& directory) {
  if (!DirectoryExists(directory)) {
    return absl::NotFoundError(absl::StrCat("checkpoint ", directory, ": no such directory"));
  }
  RETURN_IF_ERROR(CheckTrainingState(directory));
  TrainingState state;
  RETURN_IF_ERROR(ReadStateJson(directory, [&](const Json& json) { state = ToState(json); }));
  RETURN_IF_ERROR(LoadTensors(JoinPath(directory, kTensorsFile), state));
  return state;
}

absl::StatusOr<Execution> ReadExecution(const std::string& directory) {
  Execution execution;
  RETURN_IF_ERROR(ReadStateJson(
      directory, [&](const Json& json) { execution = ToExecution(json.at("execution")); }));
  return execution;
}

}  // namespace graft
