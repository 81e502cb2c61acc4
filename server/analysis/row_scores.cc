#include "server/analysis/row_scores.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/analysis/blob_lines.h"

namespace graft {

absl::StatusOr<RowScores> ReadRowScores(const BlobReader& predictions, const std::string& metric,
                                        const Gone& gone) {
  RowScores scores;
  const nlohmann::json::json_pointer index("/index");
  const nlohmann::json::json_pointer score("/" + metric + "/f");
  RETURN_IF_ERROR(
      ForEachLine(predictions, gone, [&](int64_t number, absl::string_view line) -> absl::Status {
        const absl::StatusOr<nlohmann::json> row = ParseJson(line);
        if (!row.ok() || !row->contains(index) || !row->at(index).is_number_integer() ||
            !row->contains(score) || !row->at(score).is_number()) {
          return absl::DataLossError(absl::StrCat("line ", number, " has no ", metric));
        }
        if (scores.size() == kMaxScoredRows) {
          return absl::ResourceExhaustedError(
              absl::StrCat("there are more than ", kMaxScoredRows, " rows"));
        }
        scores.emplace_back(row->at(index).get<int64_t>(), row->at(score).get<double>());
        return absl::OkStatus();
      }));
  std::sort(scores.begin(), scores.end());
  for (size_t i = 1; i < scores.size(); ++i) {
    if (scores[i - 1].first == scores[i].first) {
      return absl::DataLossError(absl::StrCat("row ", scores[i].first, " stands there twice"));
    }
  }
  return scores;
}

}  // namespace graft
