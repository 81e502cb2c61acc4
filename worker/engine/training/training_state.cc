#include "worker/engine/training/training_state.h"

#include <ATen/ATen.h>
#include <fcntl.h>

#include <algorithm>
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
#include "worker/engine/training/execution_json.h"

namespace graft {
namespace {

using Json = nlohmann::json;

// Earlier ones that are read, too: 4 and 5 are still written where a state has nothing that is new
// in 5 (rows left out) or 6 (a halved micro-batch), so that a build before goes on with it; 3 has
// another fingerprint, 2 besides has no evaluation_due, and of the execution only whether it was a
// GPU.
constexpr int kFormat = 6;
constexpr int kLastWithWholeBatch = 5;
constexpr int kLastWithAllRows = 4;
constexpr int kLastWithWholeFingerprint = 3;
constexpr int kOldestFormat = 2;
constexpr char kTensorsFile[] = "state.safetensors";
constexpr char kJsonFile[] = "state.json";
constexpr char kSumsFile[] = "SHA256SUMS";
constexpr char kEvaluatedFile[] = "evaluated.json";
constexpr char kEvaluatedSumsFile[] = "SHA256SUMS.evaluated";
constexpr int64_t kMaxJsonBytes = int64_t{16} << 20;
constexpr int64_t kMaxSumsBytes = 4096;
constexpr size_t kBytesPerBeat = 8 << 20;

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
          {"precision", event.precision},
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
  event.precision = json.value("precision", "");  // Earlier releases did not tell.
  event.max_new_tokens = json.at("max_new_tokens");
  event.max_source_tokens = json.at("max_source_tokens");
  event.samples_sha256 = json.at("samples_sha256");
  event.truncated_sources = json.at("truncated_sources");
  return event;
}

// What an evaluation changes.
Json FromEvaluations(const TrainingState& state) {
  return {{"early_stopping",
           {{"evaluations", state.early_stopping.evaluations},
            {"best_value", FromDouble(state.early_stopping.best_value)},
            {"reset_value", FromDouble(state.early_stopping.reset_value)},
            {"without_improvement", state.early_stopping.without_improvement},
            {"stop", state.early_stopping.stop}}},
          {"best", FromEvaluation(state.best)},
          {"last", FromEvaluation(state.last)}};
}

void ToEvaluations(const Json& json, TrainingState& state) {
  const Json& stopping = json.at("early_stopping");
  state.early_stopping.evaluations = stopping.at("evaluations");
  state.early_stopping.best_value = ToDouble(stopping.at("best_value"));
  state.early_stopping.reset_value = ToDouble(stopping.at("reset_value"));
  state.early_stopping.without_improvement = stopping.at("without_improvement");
  state.early_stopping.stop = stopping.at("stop");
  state.best = ToEvaluation(json.at("best"));
  state.last = ToEvaluation(json.at("last"));
}

Json FromState(const TrainingState& state) {
  Json json = FromEvaluations(state);
  const bool has_all_rows = state.left_out.empty() && state.times_gone_back == 0;
  const bool has_whole_batch = state.execution.batch_size == 0;
  json.update({{"format", !has_whole_batch ? kFormat
                          : has_all_rows   ? kLastWithAllRows
                                           : kLastWithWholeBatch},
               {"fingerprint", state.fingerprint},
               {"continues", state.continues},
               {"execution", ExecutionToJson(state.execution)},
               {"optimizer", state.optimizer},
               {"step", state.step},
               {"updates", state.updates},
               {"num_rows", state.num_rows},
               {"epoch", state.epoch},
               {"position", state.position},
               {"skipped_in_a_row", state.skipped_in_a_row},
               {"evaluation_due", state.evaluation_due},
               {"tensors", state.names}});
  if (!has_all_rows) {
    json["left_out"] = state.left_out;
    json["times_gone_back"] = state.times_gone_back;
  }
  return json;
}

TrainingState ToState(const Json& json) {
  TrainingState state;
  ToEvaluations(json, state);
  state.fingerprint = json.at("fingerprint");
  state.has_whole_fingerprint = json.at("format") <= kLastWithWholeFingerprint;
  state.continues = json.value("continues", "");
  state.execution = ExecutionFromJson(json.at("execution"));
  state.optimizer = json.at("optimizer");
  state.step = json.at("step");
  state.updates = json.at("updates");
  state.num_rows = json.at("num_rows");
  state.epoch = json.at("epoch");
  state.position = json.at("position");
  state.skipped_in_a_row = json.value("skipped_in_a_row", int64_t{0});
  state.evaluation_due = json.value("evaluation_due", false);
  state.left_out = json.value("left_out", std::vector<int64_t>());
  state.times_gone_back = json.value("times_gone_back", int64_t{0});
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
absl::StatusOr<std::string> WriteTensors(const TrainingState& state, const std::string& path,
                                         Pulse& pulse) {
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
      [&](absl::string_view bytes) -> absl::Status {
        for (; !bytes.empty(); bytes.remove_prefix(std::min(kBytesPerBeat, bytes.size()))) {
          const absl::string_view some = bytes.substr(0, kBytesPerBeat);
          hash.Update(some);
          RETURN_IF_ERROR(file.Append(some));
          pulse.Beat();
        }
        return absl::OkStatus();
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

absl::StatusOr<CheckpointFile> Describe(const std::string& directory, const std::string& name,
                                        Pulse& pulse) {
  const std::string path = JoinPath(directory, name);
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  Sha256 hash;
  CheckpointFile file = {name, 0, ""};
  std::string buffer(kBytesPerBeat, '\0');
  for (;;) {
    ASSIGN_OR_RETURN(const size_t count,
                     ReadAt(fd.get(), file.size_bytes, absl::MakeSpan(buffer), path));
    if (count == 0) break;
    hash.Update(absl::string_view(buffer.data(), count));
    file.size_bytes += static_cast<int64_t>(count);
    pulse.Beat();
  }
  file.sha256 = hash.Hex();
  return file;
}

// As sha256sum writes them.
std::string SumsOf(const std::vector<CheckpointFile>& files) {
  std::string sums;
  for (const CheckpointFile& file : files) {
    absl::StrAppend(&sums, file.sha256, "  ", file.path, "\n");
  }
  return sums;
}

// The files of these names and last their sums, which must be exactly what SumsOf them is.
absl::StatusOr<std::vector<CheckpointFile>> CheckSums(const std::string& directory,
                                                      const std::vector<std::string>& names,
                                                      const std::string& sums_name, Pulse& pulse) {
  const absl::StatusOr<std::string> sums = ReadFile(JoinPath(directory, sums_name), kMaxSumsBytes);
  if (!sums.ok()) return CannotBeRead(directory, sums_name);
  std::vector<CheckpointFile> expected;
  for (size_t begin = 0; const std::string& name : names) {
    if (begin > sums->size()) begin = sums->size();
    expected.push_back({name, 0, sums->substr(begin, kSha256HexLength)});
    begin += SumsOf({expected.back()}).size();
  }
  if (*sums != SumsOf(expected)) return Damaged(directory, sums_name, "is not as it was written");
  std::vector<CheckpointFile> files;
  for (const CheckpointFile& file : expected) {
    absl::StatusOr<CheckpointFile> found = Describe(directory, file.path, pulse);
    if (!found.ok()) return CannotBeRead(directory, file.path);
    if (found->sha256 != file.sha256) {
      return Damaged(directory, file.path, "is corrupt: its SHA-256 is not the recorded one");
    }
    files.push_back(*std::move(found));
  }
  files.push_back({sums_name, static_cast<int64_t>(sums->size()), Sha256Hex(*sums)});
  return files;
}

absl::StatusOr<CheckpointFile> WriteSmallFile(const std::string& directory, const std::string& name,
                                              const std::string& content) {
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(directory, name), content));
  return CheckpointFile{name, static_cast<int64_t>(content.size()), Sha256Hex(content)};
}

bool IsEvaluated(const std::string& directory) {
  return FileExists(JoinPath(directory, kEvaluatedSumsFile));
}

// Checks what AddEvaluation wrote, and appends it to the files of SaveTrainingState.
absl::Status CheckEvaluated(const std::string& directory, Pulse& pulse,
                            std::vector<CheckpointFile>& files) {
  ASSIGN_OR_RETURN(const std::vector<CheckpointFile> added,
                   CheckSums(directory, {kSumsFile, kEvaluatedFile}, kEvaluatedSumsFile, pulse));
  files.insert(files.end(), added.begin() + 1, added.end());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<CheckpointFile>> CheckTrainingState(const std::string& directory,
                                                               Pulse& pulse) {
  ASSIGN_OR_RETURN(std::vector<CheckpointFile> files,
                   CheckSums(directory, {kJsonFile, kTensorsFile}, kSumsFile, pulse));
  if (IsEvaluated(directory)) RETURN_IF_ERROR(CheckEvaluated(directory, pulse, files));
  return files;
}

namespace {

// Reads one of the JSON files and hands it to `take`, which may throw what nlohmann's parser
// throws.
absl::Status ReadJson(const std::string& directory, const std::string& name,
                      const std::function<void(const Json&)>& take) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(JoinPath(directory, name), kMaxJsonBytes));
  try {
    take(Json::parse(text));
  } catch (const Json::exception& error) {
    return Damaged(directory, name, absl::StrCat("is no state: ", error.what()));
  }
  return absl::OkStatus();
}

absl::Status ReadStateJson(const std::string& directory,
                           const std::function<void(const Json&)>& take) {
  int format = kFormat;
  RETURN_IF_ERROR(ReadJson(directory, kJsonFile, [&](const Json& json) {
    format = json.at("format");
    if (format >= kOldestFormat && format <= kFormat) take(json);
  }));
  if (format >= kOldestFormat && format <= kFormat) return absl::OkStatus();
  return WithFailureClass(absl::FailedPreconditionError(absl::StrCat(
                              "checkpoint ", directory, ": has format ", format,
                              ", this version of graft reads ", kOldestFormat, " to ", kFormat)),
                          FailureClass::kInfrastructure);
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

absl::StatusOr<std::vector<CheckpointFile>> SaveTrainingState(const TrainingState& state,
                                                              const std::string& directory,
                                                              Pulse& pulse) {
  const std::string partial =
      JoinPath(DirectoryOf(directory), absl::StrCat(".partial-", BaseName(directory)));
  RETURN_IF_ERROR(RemoveTree(partial));
  RETURN_IF_ERROR(CreateDirectories(partial));
  ASSIGN_OR_RETURN(const std::string tensors_hash,
                   WriteTensors(state, JoinPath(partial, kTensorsFile), pulse));
  ASSIGN_OR_RETURN(const CheckpointFile json,
                   WriteSmallFile(partial, kJsonFile, FromState(state).dump(2) + "\n"));
  RETURN_IF_ERROR(
      WriteSmallFile(partial, kSumsFile, SumsOf({json, {kTensorsFile, 0, tensors_hash}})).status());
  ASSIGN_OR_RETURN(std::vector<CheckpointFile> files, CheckTrainingState(partial, pulse));
  RETURN_IF_ERROR(RemoveTree(directory));
  RETURN_IF_ERROR(RenameAndSync(partial, directory));
  return files;
}

absl::StatusOr<std::vector<CheckpointFile>> AddEvaluation(const TrainingState& state,
                                                          const std::string& directory,
                                                          std::vector<CheckpointFile> saved,
                                                          Pulse& pulse) {
  ASSIGN_OR_RETURN(
      const CheckpointFile json,
      WriteSmallFile(directory, kEvaluatedFile, FromEvaluations(state).dump(2) + "\n"));
  // Last: until it is there, the evaluation is still due.
  RETURN_IF_ERROR(
      WriteSmallFile(directory, kEvaluatedSumsFile, SumsOf({saved.back(), json})).status());
  RETURN_IF_ERROR(CheckEvaluated(directory, pulse, saved));
  return saved;
}

absl::StatusOr<TrainingState> LoadTrainingState(const std::string& directory, Pulse& pulse) {
  if (!DirectoryExists(directory)) {
    return absl::NotFoundError(absl::StrCat("checkpoint ", directory, ": no such directory"));
  }
  RETURN_IF_ERROR(CheckTrainingState(directory, pulse).status());
  TrainingState state;
  RETURN_IF_ERROR(ReadStateJson(directory, [&](const Json& json) { state = ToState(json); }));
  RETURN_IF_ERROR(LoadTensors(JoinPath(directory, kTensorsFile), state));
  if (!IsEvaluated(directory)) return state;
  RETURN_IF_ERROR(
      ReadJson(directory, kEvaluatedFile, [&](const Json& json) { ToEvaluations(json, state); }));
  state.evaluation_due = false;
  if (state.best.step == state.step) state.best_tensors = state.trained;
  return state;
}

absl::StatusOr<Execution> ReadExecution(const std::string& directory) {
  Execution execution;
  RETURN_IF_ERROR(ReadStateJson(
      directory, [&](const Json& json) { execution = ExecutionFromJson(json.at("execution")); }));
  return execution;
}

}  // namespace graft
