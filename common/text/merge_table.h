#pragma once

// The merges of a BPE model, and the loop that applies them to one word.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/text/bpe_model.h"

namespace graft {

// Constant after construction, hence thread-safe.
class MergeTable {
 public:
  // A pair that is listed twice has the rank and the result of the last.
  explicit MergeTable(absl::Span<const BpeMerge> merges);

  // Space that one thread lends to Apply, so that no word allocates.
  struct Workspace {
    struct Symbol {
      int32_t id;
      int32_t previous;
      int32_t next;
    };
    struct Candidate {
      uint32_t rank;
      int32_t position;
      int32_t result;
    };
    std::vector<uint32_t> ranks;
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  // Merges adjacent symbols, always the pair of lowest rank and of these the leftmost, until no
  // pair is left in the table (Word::merge_all of `tokenizers`). O(n log n) for long words, O(n²)
  // with a small constant for short ones.
  void Apply(std::vector<int32_t>* symbols, Workspace* workspace) const;

 private:
  struct Entry {
    int32_t left = -1;
    int32_t right = -1;
    uint32_t rank = kNoRank;
    int32_t result = -1;
  };
  static constexpr uint32_t kNoRank = 0xFFFFFFFF;

  // The entry of the pair, or one of rank kNoRank.
  const Entry& Find(int32_t left, int32_t right) const;
  size_t SlotOf(int32_t left, int32_t right) const;
  void ApplyToShort(std::vector<int32_t>* symbols, Workspace* workspace) const;
  void ApplyToLong(std::vector<int32_t>* symbols, Workspace* workspace) const;

  std::vector<Entry> entries_;  // open addressing, a power of two
  int shift_ = 0;
};

}  // namespace graft
