#pragma once

// The files of an evaluate job, which an engine writes, and server and client read:
// docs/FORMATS.md.

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace graft {

inline constexpr char kPredictionsFile[] = "predictions.jsonl";
inline constexpr char kResultsFile[] = "results.json";

// The path of such a file among the job's. `adapter`: whose it is, of several; else empty.
inline std::string EvaluationFile(absl::string_view adapter, absl::string_view file) {
  return adapter.empty() ? std::string(file) : absl::StrCat("adapters/", adapter, "/", file);
}

}  // namespace graft
