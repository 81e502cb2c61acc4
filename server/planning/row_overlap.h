#pragma once

// Rows of the validation that stand in the training, too: exactly, or nearly.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace graft {

// Words in a row that make a shingle.
inline constexpr size_t kShingleWords = 5;
// Two texts nearly agree when of all their shingles so many are in both.
inline constexpr double kNearJaccard = 0.8;
// Places that an overlap names of each kind.
inline constexpr size_t kMaxMatches = 3;

// Lines of the data sets' files.
struct RowMatch {
  int64_t validation_line = 0;
  int64_t training_line = 0;
};

struct Overlap {
  int64_t same_sources = 0;  // Rows of the validation whose source is one of the training's.
  int64_t same_pairs = 0;    // Of these, with the target of that one.
  int64_t near_sources = 0;  // Others, whose source nearly agrees with one.
  std::vector<RowMatch> same, near;  // The first ones, by the validation's lines.
};

// Takes the rows of the validation first, then those of the training, and holds only the former:
// about 20 bytes a word. Texts are compared without regard to white space and to the case of ASCII
// letters; empty sources are in nothing.
//
// Near duplicates are found by MinHash (Broder, On the resemblance and containment of documents,
// 1997) over shingles of kShingleWords words: 32 hash functions in 8 bands of 4, so that a pair of
// resemblance J (Jaccard's index of their sets of shingles) becomes a candidate with 1-(1-J^4)^8:
// 98.5 % at J = 0.8, 0.04 % at 0.085. Candidates are judged by J itself. The hash functions are
// always the same. One thread.
class OverlapFinder {
 public:
  void AddValidation(int64_t line, absl::string_view source, absl::string_view target);
  void AddTraining(int64_t line, absl::string_view source, absl::string_view target);
  Overlap Result() const;

 private:
  struct ValidationRow {
    int64_t line = 0;
    std::vector<uint64_t> shingles;  // Sorted, each once.
    // Lines of the training; 0: none.
    int64_t same = 0;
    int64_t near = 0;
    bool same_pair = false;
  };
  using Places = std::vector<uint32_t>;  // In rows_.

  void FindNear(int64_t line, const std::vector<uint64_t>& shingles);

  std::vector<ValidationRow> rows_;
  absl::flat_hash_map<uint64_t, Places> by_source_;
  absl::flat_hash_map<uint64_t, Places> by_pair_;
  absl::flat_hash_map<uint64_t, Places> by_band_;
};

}  // namespace graft
