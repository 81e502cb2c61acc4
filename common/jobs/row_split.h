#pragma once

// Which rows of a data set are held out: the engine trains by it and the server plans by it.

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace graft {

// A permutation of 0..n-1: Fisher-Yates from the end, i = n-1 .. 1, swapping i with
// floor(x * (i + 1) / 2^64), where x are the successive outputs of SplitMix64 (Steele et al. 2014)
// started at `seed`.
inline std::vector<int64_t> HeldOutOrder(int64_t n, uint64_t seed) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  uint64_t state = seed;
  for (int64_t i = n - 1; i > 0; --i) {
    uint64_t x = (state += 0x9E3779B97F4A7C15u);
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    x ^= x >> 31;
    const auto j = static_cast<int64_t>(static_cast<uint64_t>(
        (static_cast<unsigned __int128>(x) * static_cast<uint64_t>(i + 1)) >> 64));
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(j)]);
  }
  return order;
}

// Both in ascending order.
struct RowSplit {
  std::vector<int64_t> train;
  std::vector<int64_t> validation;
};

// Holds the last `held_out` of HeldOutOrder out; of those the first max_validation_rows (0: all),
// in the order of the file, are validated on.
inline RowSplit SplitRows(int64_t rows, int64_t held_out, uint64_t seed,
                          int64_t max_validation_rows) {
  RowSplit split;
  split.train = HeldOutOrder(rows, seed);
  split.validation.assign(split.train.end() - held_out, split.train.end());
  split.train.resize(split.train.size() - static_cast<size_t>(held_out));
  std::sort(split.train.begin(), split.train.end());
  std::sort(split.validation.begin(), split.validation.end());
  if (max_validation_rows > 0 && max_validation_rows < held_out) {
    split.validation.resize(static_cast<size_t>(max_validation_rows));
  }
  return split;
}

}  // namespace graft
