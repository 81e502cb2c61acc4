#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"

namespace graft {

// (what, as it was recorded, as it is computed again), as text with all digits.
using RecomputedScores = std::vector<std::tuple<std::string, std::string, std::string>>;

// Scores the texts of predictions.jsonl again, as `results` (results.json) says they were scored:
// the number of rows and the hash of their references, each row's scores (the first rows that
// differ are named), lead-3's and the oracle's texts, and every mean and interval of ROUGE in
// results["metrics"]. INVALID_ARGUMENT, with the line: a row that is no row of predictions.jsonl.
absl::StatusOr<RecomputedScores> RecomputeScores(const std::string& predictions_path,
                                                 const nlohmann::json& results);

}  // namespace graft
