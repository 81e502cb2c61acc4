#include "server/planning/token_tally.h"

#include <algorithm>

#include "common/jobs/share.h"

namespace graft {
namespace {

// 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, …
int64_t NextBound(int64_t bound) {
  if (bound < 4) return bound + 1;
  const bool power = (bound & (bound - 1)) == 0;
  return power ? bound / 2 * 3 : bound / 3 * 4;
}

void AddHistogram(const std::vector<int64_t>& sorted, v1::TokenCounts& counts) {
  auto begin = sorted.begin();
  for (int64_t bound = 0; begin != sorted.end(); bound = NextBound(bound)) {
    const auto end = std::upper_bound(begin, sorted.end(), bound);
    if (begin == end && counts.histogram().empty()) continue;
    v1::TokenCounts::Bucket& bucket = *counts.add_histogram();
    bucket.set_up_to(bound);
    bucket.set_rows(end - begin);
    begin = end;
  }
}

}  // namespace

void TokenTally::Add(int64_t tokens, int64_t cut) {
  lengths_.push_back(tokens);
  tokens_ += tokens;
  tokens_cut_ += cut;
  rows_cut_ += cut > 0;
}

v1::TokenCounts TokenTally::Counts(int64_t limit) const {
  v1::TokenCounts counts;
  counts.set_limit(limit);
  counts.set_rows_cut(rows_cut_);
  counts.set_tokens(tokens_);
  counts.set_tokens_cut(tokens_cut_);
  if (lengths_.empty()) return counts;
  std::vector<int64_t> sorted = lengths_;
  std::sort(sorted.begin(), sorted.end());
  const auto rows = static_cast<int64_t>(sorted.size());
  counts.set_mean(static_cast<double>(tokens_) / static_cast<double>(rows));
  counts.set_median(sorted[static_cast<size_t>(CeilShare(0.5, rows) - 1)]);
  counts.set_p95(sorted[static_cast<size_t>(CeilShare(0.95, rows) - 1)]);
  counts.set_max(sorted.back());
  AddHistogram(sorted, counts);
  return counts;
}

}  // namespace graft
