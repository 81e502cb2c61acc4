#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/blobs/blob_store.h"
#include "server/streams/wanted.h"

namespace graft {

inline constexpr size_t kMaxScoredRows = 2'000'000;

// The score of each row, by row, each row once.
using RowScores = std::vector<std::pair<int64_t, double>>;

// The F-measure of `metric` ("rougeLsum") of each row of a predictions.jsonl. DATA_LOSS names the
// line that is no scored row, or that has a row again; RESOURCE_EXHAUSTED: more than
// kMaxScoredRows; errors of reading, CANCELLED.
absl::StatusOr<RowScores> ReadRowScores(const BlobReader& predictions, const std::string& metric,
                                        const Gone& gone);

}  // namespace graft
