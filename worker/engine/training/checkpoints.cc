#include "worker/engine/training/checkpoints.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr double kShareForSaving = 0.02;
constexpr char kEvaluationPrefix[] = "evaluation-";
constexpr char kEvaluationSuffix[] = ".jsonl";

}  // namespace

absl::Duration IntervalOfSaves(absl::Duration wanted, absl::Duration save_time) {
  return std::max(wanted, save_time / kShareForSaving);
}

absl::Status RemoveOldCheckpoints(const std::string& directory, int64_t step, int64_t keep_last,
                                  const std::string& spared) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  std::vector<int64_t> steps;
  for (const std::string& name : names) {
    int64_t found = 0;
    if (absl::SimpleAtoi(name, &found) && found <= step) steps.push_back(found);
  }
  std::sort(steps.rbegin(), steps.rend());
  const size_t keep = std::max<int64_t>(1, keep_last);
  for (size_t i = keep; i < steps.size(); ++i) {
    const std::string path = JoinPath(directory, absl::StrCat(steps[i]));
    if (path != spared) RETURN_IF_ERROR(RemoveTree(path));
  }
  return absl::OkStatus();
}

std::string EvaluationFileName(int64_t rows) {
  return absl::StrCat(kEvaluationPrefix, rows, kEvaluationSuffix);
}

std::string FindEvaluationFile(const std::string& checkpoint) {
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory(checkpoint);
  if (!names.ok()) return "";
  int64_t most = -1;
  for (absl::string_view name : *names) {
    int64_t rows = 0;
    const bool is_one = absl::ConsumePrefix(&name, kEvaluationPrefix) &&
                        absl::ConsumeSuffix(&name, kEvaluationSuffix) &&
                        absl::SimpleAtoi(name, &rows);
    if (is_one) most = std::max(most, rows);
  }
  return most < 0 ? "" : JoinPath(checkpoint, EvaluationFileName(most));
}

}  // namespace graft
