#include "common/text/lcs.h"

#include <algorithm>
#include <cmath>

namespace graft {
namespace {

// Tables of up to this many words are kept whole (2 MiB).
constexpr size_t kWholeTableWords = 1 << 18;

}  // namespace

void LcsMatcher::SetCandidate(absl::Span<const int32_t> candidate) {
  for (const int32_t token : candidate_) last_place_[token] = -1;
  candidate_.assign(candidate.begin(), candidate.end());
  word_count_ = (candidate_.size() + 63) / 64;
  masks_.assign(word_count_, 0);
  place_before_.resize(candidate_.size());
  for (size_t place = 0; place < candidate_.size(); ++place) {
    place_before_[place] = last_place_[candidate_[place]];
    last_place_[candidate_[place]] = static_cast<int32_t>(place);
  }
}

// One row of the table: bit j is 0 where the length grows from column j to j + 1. With M the
// token's places, V' = (V + (V & M)) | (V & ~M). `before` may be `after`.
void LcsMatcher::Advance(int32_t token, const uint64_t* before, uint64_t* after) {
  int32_t place = last_place_[token];
  if (place < 0) {
    if (before != after) std::copy_n(before, word_count_, after);
    return;
  }
  for (; place >= 0; place = place_before_[place]) masks_[place / 64] |= uint64_t{1} << place % 64;
  uint64_t carry = 0;
  for (size_t word = 0; word < word_count_; ++word) {
    const uint64_t v = before[word];
    const uint64_t sum = v + (v & masks_[word]);
    const uint64_t with_carry = sum + carry;
    carry = (sum < v) | (with_carry < sum);
    after[word] = with_carry | (v & ~masks_[word]);
    masks_[word] = 0;
  }
}

// Zeros among the first `columns` bits.
size_t LcsMatcher::CountCommon(const uint64_t* row, size_t columns) const {
  size_t count = 0;
  for (size_t word = 0; word < columns / 64; ++word) count += __builtin_popcountll(~row[word]);
  const size_t rest = columns % 64;
  if (rest > 0) {
    count += __builtin_popcountll(~row[columns / 64] & ((uint64_t{1} << rest) - 1));
  }
  return count;
}

size_t LcsMatcher::Length(absl::Span<const int32_t> reference) {
  rows_.assign(word_count_, ~uint64_t{0});
  for (const int32_t token : reference) Advance(token, rows_.data(), rows_.data());
  return CountCommon(rows_.data(), candidate_.size());
}

// Rows `begin` to `end` of the table, both included, into rows_; `first` is row `begin`.
void LcsMatcher::FillRows(absl::Span<const int32_t> reference, const uint64_t* first, size_t begin,
                          size_t end) {
  rows_.resize((end - begin + 1) * word_count_);
  std::copy_n(first, word_count_, rows_.data());
  for (size_t i = begin; i < end; ++i) {
    uint64_t* row = rows_.data() + (i - begin) * word_count_;
    Advance(reference[i], row, row + word_count_);
  }
}

// Goes back from the cell (i, j) to the first row of the block in rows_, or to column 0.
void LcsMatcher::Backtrack(absl::Span<const int32_t> reference, size_t block_begin, size_t* i,
                           size_t* j) {
  while (*i > block_begin && *j > 0) {
    const uint64_t* row = rows_.data() + (*i - block_begin) * word_count_;
    const uint64_t* above = row - word_count_;
    // Is the length here more than that of the cell above? It is 0 or 1 more, and changes with each
    // column.
    auto more =
        static_cast<int64_t>(CountCommon(row, *j)) - static_cast<int64_t>(CountCommon(above, *j));
    while (*j > 0 && reference[*i - 1] != candidate_[*j - 1] && more > 0) {
      --*j;
      const auto bit = [j = *j](const uint64_t* bits) -> int64_t {
        return ~bits[j / 64] >> j % 64 & 1;
      };
      more -= bit(row) - bit(above);
    }
    if (*j == 0) return;
    --*i;
    if (reference[*i] == candidate_[*j - 1]) {
      common_.push_back(*i);
      --*j;
    }
  }
}

const std::vector<size_t>& LcsMatcher::CommonIndices(absl::Span<const int32_t> reference) {
  common_.clear();
  const size_t rows = reference.size();
  if (rows == 0 || word_count_ == 0) return common_;
  const bool whole = (rows + 1) * word_count_ <= kWholeTableWords;
  const size_t block = whole ? rows : static_cast<size_t>(std::sqrt(static_cast<double>(rows))) + 1;
  const size_t block_count = (rows + block - 1) / block;
  // The first row of each block; a row on the way is kept in place of the one after the last.
  checkpoints_.assign((block_count + 1) * word_count_, ~uint64_t{0});
  uint64_t* running = checkpoints_.data() + block_count * word_count_;
  for (size_t b = 1; b < block_count; ++b) {
    for (size_t i = (b - 1) * block; i < b * block; ++i) Advance(reference[i], running, running);
    std::copy_n(running, word_count_, checkpoints_.data() + b * word_count_);
  }
  size_t i = rows;
  size_t j = candidate_.size();
  for (size_t b = block_count; b-- > 0 && j > 0;) {
    FillRows(reference, checkpoints_.data() + b * word_count_, b * block,
             std::min(rows, (b + 1) * block));
    Backtrack(reference, b * block, &i, &j);
  }
  return common_;
}

}  // namespace graft
