#include "server/catalogue/data_checks.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_spec.h"
#include "server/catalogue/dataset_format.h"

namespace graft {

struct DataChecks::Use {
  SpecReference data_set;
  std::string sha256;
  DataFields fields;
  int64_t max_rows = 0;  // 0: all.
  DataFormat format = DataFormat::kAutomatic;

  // No two uses that may be judged differently have the same.
  std::string Key() const {
    std::string key = absl::StrCat(sha256, "/", max_rows, "/", static_cast<int>(format));
    for (const std::string& name : {fields.source_field, fields.target_field, fields.text_field}) {
      absl::StrAppend(&key, "/", name.size(), ":", name);
    }
    return key;
  }
};

namespace {

void AddViolations(const SpecReference& data_set, const DataProblems& problems,
                   Violations& violations) {
  if (problems.empty()) return;
  const std::string name = absl::StrCat("data set \"", data_set.name, "\"");
  const std::vector<std::string> lines = problems.Lines();
  if (lines.size() == 1) {
    return violations.Add(data_set.field, absl::StrCat(name, ": ", lines[0]));
  }
  violations.Add(data_set.field,
                 absl::StrCat(name, " has ", problems.count(), " rows that the job cannot use:"));
  for (const std::string& line : lines) violations.Add(data_set.field, line);
}

}  // namespace

absl::StatusOr<std::vector<DataChecks::Use>> DataChecks::UsesOf(const v1::JobSpec& resolved,
                                                                absl::string_view path) const {
  const v1::DataSpec& data =
      resolved.has_evaluate() ? resolved.evaluate().data() : resolved.fine_tune().data();
  DataFields fields;
  if (data.has_text_field()) {
    fields.text_field = data.text_field();
  } else {
    fields.source_field = data.source_field();
    fields.target_field = data.target_field();
  }
  const SpecReferences names = ReferencesOf(resolved, path);
  std::vector<Use> uses;
  if (!data.train_sha256().empty()) {
    uses.push_back({names.train, data.train_sha256(), fields, data.max_train_rows()});
  }
  if (!data.validation_sha256().empty()) {
    uses.push_back(
        {names.validation, data.validation_sha256(), fields, data.max_validation_rows()});
  }
  for (Use& use : uses) {
    const absl::StatusOr<v1::Dataset> dataset = store_.GetDataset(use.data_set.name);
    // Deleted meanwhile: whoever makes the job says so.
    if (absl::IsNotFound(dataset.status())) continue;
    RETURN_IF_ERROR(dataset.status());
    use.format = ToDataFormat(dataset->format());
  }
  return uses;
}

std::optional<absl::Status> DataChecks::Known(const v1::JobSpec& resolved,
                                              absl::string_view path) const {
  const absl::StatusOr<std::vector<Use>> uses = UsesOf(resolved, path);
  RETURN_IF_ERROR(uses.status());
  Violations violations;
  MutexLock lock(mutex_);
  for (const Use& use : *uses) {
    const auto verdict = verdicts_.find(use.Key());
    if (verdict == verdicts_.end()) return std::nullopt;
    AddViolations(use.data_set, verdict->second, violations);
  }
  return violations.ToStatus();
}

absl::Status DataChecks::Check(const v1::JobSpec& resolved, absl::string_view path,
                               const Gone& give_up) {
  while (true) {
    std::optional<absl::Status> known = Known(resolved, path);
    if (known.has_value()) return *std::move(known);
    ASSIGN_OR_RETURN(const std::vector<Use> uses, UsesOf(resolved, path));
    for (const Use& use : uses) {
      RETURN_IF_ERROR(CheckWanted(give_up));
      RETURN_IF_ERROR(
          Annotate(Read(use, give_up), absl::StrCat("data set \"", use.data_set.name, "\"")));
    }
  }
}

bool DataChecks::BeginReading(const std::string& key, const Gone& give_up) {
  MutexLock lock(mutex_);
  while (reading_.count(key) > 0 && !give_up()) {
    clock_.WaitUntil(changed_, mutex_, clock_.Boottime() + absl::Seconds(1));
  }
  return verdicts_.count(key) == 0 && reading_.insert(key).second;
}

absl::Status DataChecks::Read(const Use& use, const Gone& give_up) {
  const std::string key = use.Key();
  if (!BeginReading(key, give_up)) return absl::OkStatus();
  const auto read = [&]() -> absl::StatusOr<DataProblems> {
    absl::StatusOr<std::string> stored = blobs_.PathOf(use.sha256);
    // Its row says that it is there.
    if (absl::IsNotFound(stored.status())) return absl::DataLossError(stored.status().message());
    ASSIGN_OR_RETURN(const std::string path, std::move(stored));
    return FindProblems(DataReader::Open(path, use.fields, use.format), use.max_rows, give_up);
  };
  absl::StatusOr<DataProblems> problems = read();
  MutexLock lock(mutex_);
  reading_.erase(key);
  changed_.NotifyAll();
  RETURN_IF_ERROR(problems.status());
  if (keys_.size() == kMaxDataVerdicts) {
    verdicts_.erase(keys_.front());
    keys_.pop_front();
  }
  keys_.push_back(key);
  verdicts_[key] = *std::move(problems);
  return absl::OkStatus();
}

}  // namespace graft
