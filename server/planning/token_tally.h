#pragma once

#include <cstdint>
#include <vector>

#include "graft/v1/plan.pb.h"

namespace graft {

// The lengths of texts, in tokens, and what limits cut of them. One thread.
class TokenTally {
 public:
  // `tokens`: before the cut.
  void Add(int64_t tokens, int64_t cut);
  // `limit`: for the answer; 0: none. The median and the 95th percentile are the smallest lengths
  // that half, and 95 %, of the texts do not exceed. A bucket of the histogram ends at 2^k or
  // 1.5 * 2^k tokens, so that a long tail has few; the first and the last one are not empty.
  v1::TokenCounts Counts(int64_t limit) const;
  int64_t tokens() const { return tokens_; }

 private:
  std::vector<int64_t> lengths_;
  int64_t tokens_ = 0;
  int64_t tokens_cut_ = 0;
  int64_t rows_cut_ = 0;
};

}  // namespace graft
