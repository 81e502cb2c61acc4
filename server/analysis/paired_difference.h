#pragma once

// What one job scored above another, row by row, and how sure that is.

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graft/v1/results.pb.h"
#include "server/analysis/compared_job.h"
#include "server/analysis/row_scores.h"

namespace graft {

// Why there is no difference between scores of these two: other references, or another kind of
// score (stemmer, sentences). Empty: there is one.
std::string WhyNotComparable(const v1::ScoringFingerprint& ours,
                             const v1::ScoringFingerprint& theirs);

// Fills in rows, mean, interval and rows_needed, from the rows that both scored; not_comparable
// where there are none.
absl::Status CompareRows(const RowScores& ours, const RowScores& theirs,
                         v1::PairedDifference& difference);

// The least number of rows with which such a mean has a 95 % interval without 0 (of the normal
// approximation): n = (z s / m)^2 rounded up, where m and s are the mean and the standard deviation
// (n - 1) of the differences and z = 1.959964 (W. G. Cochran, Sampling Techniques, 3rd ed. 1977,
// section 4.4, with the observed mean as the margin). 0: no number is, or there are fewer than two
// differences.
int64_t RowsNeeded(absl::Span<const double> differences);

}  // namespace graft
