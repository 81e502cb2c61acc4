#pragma once

// Longest common subsequences with bit-vectors: 64 cells of the table in a few instructions (H.
// Hyyrö, "Bit-parallel LCS-length computation revisited", 2004).

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace graft {

// Compares one sequence of token ids ("candidate") with others ("references"). Not thread-safe;
// used again for one candidate after the other, so that nothing is allocated for each.
class LcsMatcher {
 public:
  // Token ids are from 0 to vocabulary_size - 1.
  explicit LcsMatcher(int32_t vocabulary_size) : last_place_(vocabulary_size, -1) {}

  // The candidate is copied.
  void SetCandidate(absl::Span<const int32_t> candidate);

  size_t Length(absl::Span<const int32_t> reference);

  // The indices of the reference's tokens that belong to one longest common subsequence, in
  // descending order: of several the one that rouge_score finds (_backtrack_norec), which goes back
  // in the candidate only where that alone keeps the length. Valid until the next call. Memory:
  // O(√m · n / 8) bytes for m and n tokens, or all rows if they are few.
  const std::vector<size_t>& CommonIndices(absl::Span<const int32_t> reference);

 private:
  void Advance(int32_t token, const uint64_t* before, uint64_t* after);
  void FillRows(absl::Span<const int32_t> reference, const uint64_t* first, size_t begin,
                size_t end);
  size_t CountCommon(const uint64_t* row, size_t columns) const;
  void Backtrack(absl::Span<const int32_t> reference, size_t block_begin, size_t* i, size_t* j);

  std::vector<int32_t> candidate_;
  size_t word_count_ = 0;
  // Places of each token in the candidate, as linked lists: the last one, and the one before each.
  std::vector<int32_t> last_place_;
  std::vector<int32_t> place_before_;
  std::vector<uint64_t> masks_;        // places of one token as bits; all 0 between calls
  std::vector<uint64_t> rows_;         // of one block of the table
  std::vector<uint64_t> checkpoints_;  // the first row of each block
  std::vector<size_t> common_;
};

}  // namespace graft
