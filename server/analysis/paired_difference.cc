#include "server/analysis/paired_difference.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/base/status_macros.h"
#include "common/text/bootstrap.h"
#include "server/analysis/validation_difference.h"

namespace graft {
namespace {

constexpr uint64_t kBootstrapSeed = 42;
constexpr double kNormal975 = 1.959963984540054;
constexpr double kMostRows = 9e18;

}  // namespace

std::string WhyNotComparable(const v1::ScoringFingerprint& ours,
                             const v1::ScoringFingerprint& theirs) {
  if (ours.samples_sha256() != theirs.samples_sha256()) return "they scored different references";
  return UnequalFields(ours, theirs, {"use_stemmer", "sentence_splitter"});
}

absl::Status CompareRows(const RowScores& ours, const RowScores& theirs,
                         v1::PairedDifference& difference) {
  std::vector<double> differences;
  for (size_t i = 0, j = 0; i < ours.size() && j < theirs.size();) {
    if (ours[i].first == theirs[j].first) {
      differences.push_back(ours[i++].second - theirs[j++].second);
    } else if (ours[i].first < theirs[j].first) {
      ++i;
    } else {
      ++j;
    }
  }
  difference.set_rows(static_cast<int64_t>(differences.size()));
  if (differences.empty()) {
    difference.set_not_comparable("no row was scored by both");
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const BootstrapInterval interval, BootstrapMean(differences, kBootstrapSeed));
  difference.set_mean(interval.mean);
  difference.set_low(interval.low);
  difference.set_high(interval.high);
  difference.set_rows_needed(RowsNeeded(differences));
  return absl::OkStatus();
}

int64_t RowsNeeded(absl::Span<const double> differences) {
  if (differences.size() < 2) return 0;
  const auto count = static_cast<double>(differences.size());
  double mean = 0;
  for (const double difference : differences) mean += difference / count;
  if (mean == 0) return 0;
  double squares = 0;
  for (const double difference : differences) squares += std::pow(difference - mean, 2);
  const double variance = squares / (count - 1);
  const double rows = std::ceil(kNormal975 * kNormal975 * variance / (mean * mean));
  if (!(rows < kMostRows)) return 0;
  return std::max(int64_t{1}, static_cast<int64_t>(rows));
}

}  // namespace graft
