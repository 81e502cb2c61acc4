#include "client/cli/verify.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/cli/verify_scores.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/formats/evaluation_files.h"
#include "common/formats/graft_json.h"
#include "common/formats/json_util.h"
#include "common/formats/model_folder.h"
#include "common/methods/adapter_files.h"

namespace graft {
namespace {

using Json = nlohmann::json;

constexpr char kMetrics[] = "metrics.jsonl";
constexpr char kTrainerState[] = "trainer_state.json";
constexpr int64_t kMaxJsonBytes = 64 << 20;
constexpr int kFormat = 1;

// The value at a JSON pointer ("/base_model/sha256") as text; "" when there is none.
std::string TextAt(const Json& json, const std::string& pointer) {
  const Json::json_pointer path(pointer);
  return json.contains(path) && json[path].is_string() ? json[path].get<std::string>() : "";
}

absl::StatusOr<Json> ReadJson(const std::string& directory, const std::string& name) {
  const std::string path = JoinPath(directory, name);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxJsonBytes));
  absl::StatusOr<Json> json = ParseJsonObject(text);
  if (!json.ok()) return Annotate(json.status(), path);
  return json;
}

// The file that says what the result is.
absl::StatusOr<Json> ReadRecord(const std::string& directory, const std::string& name) {
  ASSIGN_OR_RETURN(Json record, ReadJson(directory, name));
  if (!record.contains("graft_format") || record["graft_format"] != kFormat) {
    return absl::InvalidArgumentError(absl::StrCat(JoinPath(directory, name),
                                                   ": graft_format is not ", kFormat,
                                                   "; this is no file that graft wrote"));
  }
  return record;
}

class Verification {
 public:
  Verification(const std::string& directory, const VerifySources& sources)
      : directory_(directory), sources_(sources) {}

  absl::StatusOr<std::vector<VerifyCheck>> Adapter();
  absl::StatusOr<std::vector<VerifyCheck>> Evaluation();

 private:
  void Compare(std::string what, const std::string& expected, const std::string& found);
  void NotChecked(std::string what, std::string why);
  void Status(std::string what, const absl::Status& status);
  void Files(const std::vector<ManifestFile>& files, const std::string& origin);
  absl::Status ListedFiles();
  void BaseModel();
  void Data();
  void Hash(const std::string& what, const std::string& name, const std::string& expected,
            const HashSource& source);
  void Tensors();
  void BestStep();
  void TrainerState(int64_t best_step, const Json& metrics);
  void Code();

  const std::string& directory_;
  const VerifySources& sources_;
  Json record_;
  std::vector<VerifyCheck> checks_;
};

void Verification::Compare(std::string what, const std::string& expected,
                           const std::string& found) {
  VerifyCheck check = {std::move(what), VerifyCheck::Outcome::kOk, ""};
  if (expected != found) {
    check.outcome = VerifyCheck::Outcome::kDiffers;
    check.detail = absl::StrCat("expected ", expected, ", found ", found);
  }
  checks_.push_back(std::move(check));
}

void Verification::NotChecked(std::string what, std::string why) {
  checks_.push_back({std::move(what), VerifyCheck::Outcome::kNotChecked, std::move(why)});
}

void Verification::Status(std::string what, const absl::Status& status) {
  checks_.push_back({std::move(what),
                     status.ok() ? VerifyCheck::Outcome::kOk : VerifyCheck::Outcome::kDiffers,
                     std::string(status.message())});
}

void Verification::Files(const std::vector<ManifestFile>& files, const std::string& origin) {
  for (const ManifestFile& file : files) {
    const std::string what = absl::StrCat("file ", file.path, " as ", origin, " has it");
    const absl::StatusOr<ManifestFile> found = DescribeFile(directory_, file.path);
    if (!found.ok()) {
      Status(what, found.status());
      continue;
    }
    Compare(what, absl::StrCat(file.size_bytes, " bytes, SHA-256 ", file.sha256),
            absl::StrCat(found->size_bytes, " bytes, SHA-256 ", found->sha256));
  }
}

// The list of graft.json comes from outside: paths are checked before they are opened.
absl::Status Verification::ListedFiles() {
  std::vector<ManifestFile> files;
  const Json& listed = record_.contains("files") ? record_["files"] : Json::array();
  for (const Json& entry : listed) {
    if (!entry.is_object()) return absl::InvalidArgumentError("graft.json: files: no objects");
    JsonFields fields(entry);
    ManifestFile file;
    file.path = fields.String("path", "");
    file.size_bytes = fields.Int("size_bytes", -1, 0, INT64_MAX);
    file.sha256 = fields.String("sha256", "");
    RETURN_IF_ERROR(Annotate(fields.status(), "graft.json: files"));
    files.push_back(std::move(file));
  }
  RETURN_IF_ERROR(Annotate(CheckManifest(files), "graft.json: files"));
  Files(files, kGraftJson);
  return absl::OkStatus();
}

void Verification::Hash(const std::string& what, const std::string& name,
                        const std::string& expected, const HashSource& source) {
  if (!source) return NotChecked(what, "no server was asked");
  const absl::StatusOr<std::string> found = source(name);
  if (!found.ok()) return NotChecked(what, std::string(found.status().message()));
  Compare(what, absl::StrCat("SHA-256 ", expected), absl::StrCat("SHA-256 ", *found));
}

void Verification::BaseModel() {
  const std::string name = TextAt(record_, "/base_model/name");
  const std::string expected = TextAt(record_, "/base_model/sha256");
  const std::string what = absl::StrCat("base model ", name);
  if (sources_.base_model_directory.empty()) {
    return Hash(what, name, expected, sources_.base_model);
  }
  const absl::StatusOr<ModelManifest> manifest = MakeModelManifest(sources_.base_model_directory);
  if (!manifest.ok()) return Status(what, manifest.status());
  Compare(what, absl::StrCat("SHA-256 ", expected), absl::StrCat("SHA-256 ", manifest->sha256));
}

void Verification::Data() {
  std::vector<std::string> hashes;
  for (const std::string& path : sources_.data_files) {
    const absl::StatusOr<std::string> hash = Sha256HexOfFile(path);
    if (!hash.ok()) return Status(absl::StrCat("data file ", path), hash.status());
    hashes.push_back(*hash);
  }
  std::vector<std::string> known;
  for (const char* part : {"train", "validation"}) {
    const std::string name = TextAt(record_, absl::StrCat("/data/", part, "/name"));
    if (name.empty()) continue;
    const std::string expected = TextAt(record_, absl::StrCat("/data/", part, "/sha256"));
    known.push_back(expected);
    const std::string what = absl::StrCat(part, " data ", name);
    if (std::find(hashes.begin(), hashes.end(), expected) != hashes.end()) {
      Compare(what, expected, expected);
    } else {
      Hash(what, name, expected, sources_.data_set);
    }
  }
  for (size_t i = 0; i < hashes.size(); ++i) {
    if (std::find(known.begin(), known.end(), hashes[i]) != known.end()) continue;
    checks_.push_back({absl::StrCat("data file ", sources_.data_files[i]),
                       VerifyCheck::Outcome::kDiffers,
                       absl::StrCat("its SHA-256 ", hashes[i], " is none of the result's data")});
  }
}

void Verification::Tensors() {
  constexpr char kWhat[] = "tensors of the adapter fit the base model";
  if (sources_.base_model_directory.empty()) {
    return NotChecked(kWhat, "needs the base model's directory (--base-model)");
  }
  const absl::StatusOr<ModelFolder> model = ModelFolder::Open(sources_.base_model_directory);
  if (!model.ok()) return Status(kWhat, model.status());
  Status(kWhat, AdapterFolder::Open(directory_, model->config()).status());
}

void Verification::BestStep() {
  constexpr char kWhat[] = "metrics of the best step as metrics.jsonl has them";
  const Json result = record_.value("result", Json::object());
  const Json metrics = result.value("metrics", Json::object());
  const int64_t best_step = result.value("best_step", int64_t{0});
  if (metrics.empty()) return NotChecked(kWhat, "the job had no validation");
  const absl::StatusOr<std::string> text = ReadFile(JoinPath(directory_, kMetrics), kMaxJsonBytes);
  if (!text.ok()) return NotChecked(kWhat, std::string(text.status().message()));
  Json found = Json::object();
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object() || row.value("step", int64_t{-1}) != best_step) continue;
    for (const auto& [name, value] : metrics.items()) {
      if (row.contains(name)) found[name] = row[name];
    }
  }
  Compare(kWhat, metrics.dump(), found.dump());
  TrainerState(best_step, metrics);
}

void Verification::TrainerState(int64_t best_step, const Json& metrics) {
  constexpr char kWhat[] = "best step and its loss as trainer_state.json has them";
  const absl::StatusOr<Json> state = ReadJson(directory_, kTrainerState);
  if (!state.ok()) return NotChecked(kWhat, std::string(state.status().message()));
  Json loss;
  for (const Json& entry : state->value("log_history", Json::array())) {
    if (entry.is_object() && entry.contains("eval_loss") &&
        entry.value("step", int64_t{-1}) == best_step) {
      loss = entry["eval_loss"];
    }
  }
  const Json best =
      state->contains("best_global_step") ? (*state)["best_global_step"] : Json(nullptr);
  Compare(kWhat, absl::StrCat(best_step, " ", metrics.value("eval/loss", Json()).dump()),
          absl::StrCat(best.dump(), " ", loss.dump()));
}

void Verification::Code() {
  const std::string hash = TextAt(record_, "/build/code_sha256");
  NotChecked(absl::StrCat("code ", hash.empty() ? "(no hash in the record)" : hash),
             "needs the sources of that version: docs/FORMATS.md has the command");
}

absl::StatusOr<std::vector<VerifyCheck>> Verification::Adapter() {
  ASSIGN_OR_RETURN(record_, ReadRecord(directory_, kGraftJson));
  RETURN_IF_ERROR(ListedFiles());
  Files(sources_.published, "the server");
  BaseModel();
  Data();
  if (record_.value("kind", "") == "adapter") Tensors();
  BestStep();
  Code();
  return std::move(checks_);
}

absl::StatusOr<std::vector<VerifyCheck>> Verification::Evaluation() {
  ASSIGN_OR_RETURN(record_, ReadRecord(directory_, kResultsFile));
  Files(sources_.published, "the server");
  BaseModel();
  const std::string adapter = TextAt(record_, "/adapter/name");
  if (!adapter.empty()) {
    Hash(absl::StrCat("adapter ", adapter), adapter, TextAt(record_, "/adapter/sha256"),
         sources_.adapter);
  }
  Data();
  const std::string path = JoinPath(directory_, kPredictionsFile);
  if (record_.value("num_samples", int64_t{0}) == 0) {
    NotChecked("scores", "the job generated nothing");
  } else if (!FileExists(path)) {
    NotChecked("scores", absl::StrCat(path, " is not there"));
  } else {
    ASSIGN_OR_RETURN(const RecomputedScores scores, RecomputeScores(path, record_));
    for (const auto& [what, expected, found] : scores) Compare(what, expected, found);
  }
  Code();
  return std::move(checks_);
}

// A value of another type than expected is an exception of the JSON library.
absl::StatusOr<std::vector<VerifyCheck>> RunChecks(
    const std::string& directory, const VerifySources& sources,
    absl::StatusOr<std::vector<VerifyCheck>> (Verification::*checks)()) {
  try {
    Verification verification(directory, sources);
    return (verification.*checks)();
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory, ": a value is none that graft wrote: ", error.what()));
  }
}

}  // namespace

absl::StatusOr<std::vector<VerifyCheck>> VerifyAdapterDirectory(const std::string& directory,
                                                                const VerifySources& sources) {
  return RunChecks(directory, sources, &Verification::Adapter);
}

absl::StatusOr<std::vector<VerifyCheck>> VerifyEvaluationDirectory(const std::string& directory,
                                                                   const VerifySources& sources) {
  return RunChecks(directory, sources, &Verification::Evaluation);
}

bool Holds(const std::vector<VerifyCheck>& checks) {
  return std::none_of(checks.begin(), checks.end(), [](const VerifyCheck& check) {
    return check.outcome == VerifyCheck::Outcome::kDiffers;
  });
}

std::string VerifyText(const std::vector<VerifyCheck>& checks) {
  std::string text;
  for (const VerifyCheck& check : checks) {
    const char* verdict = check.outcome == VerifyCheck::Outcome::kOk        ? "ok"
                          : check.outcome == VerifyCheck::Outcome::kDiffers ? "DIFFERS"
                                                                            : "not checked";
    absl::StrAppend(&text, absl::StrFormat("%-12s %s", verdict, check.what),
                    check.detail.empty() ? "" : ": ", check.detail, "\n");
  }
  return text;
}

std::string VerifyJson(const std::vector<VerifyCheck>& checks) {
  std::string text;
  for (const VerifyCheck& check : checks) {
    nlohmann::ordered_json line = {{"check", check.what}};
    line["outcome"] = check.outcome == VerifyCheck::Outcome::kOk        ? "ok"
                      : check.outcome == VerifyCheck::Outcome::kDiffers ? "differs"
                                                                        : "not_checked";
    if (!check.detail.empty()) line["detail"] = check.detail;
    absl::StrAppend(&text, line.dump(), "\n");
  }
  return text;
}

}  // namespace graft
