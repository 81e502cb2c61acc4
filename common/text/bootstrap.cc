#include "common/text/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"

namespace graft {
namespace {

// SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators",
// 2014).
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    state_ += 0x9E3779B97F4A7C15ULL;
    uint64_t z = state_;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ z >> 27) * 0x94D049BB133111EBULL;
    return z ^ z >> 31;
  }

  // From 0 to bound - 1: the upper half of the product with the bound.
  uint64_t Below(uint64_t bound) { return absl::Uint128High64(absl::uint128(Next()) * bound); }

 private:
  uint64_t state_;
};

}  // namespace

absl::StatusOr<BootstrapInterval> BootstrapMean(absl::Span<const double> values, uint64_t seed) {
  if (values.empty()) return absl::InvalidArgumentError("there are no values to resample");
  BootstrapInterval interval;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return absl::InvalidArgumentError(absl::StrCat("value ", i, " is not a finite number"));
    }
    interval.mean += values[i];
  }
  const auto count = static_cast<double>(values.size());
  interval.mean /= count;
  SplitMix64 random(seed);
  std::vector<double> means(kBootstrapResamples);
  for (double& mean : means) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += values[random.Below(values.size())];
    mean = sum / count;
  }
  std::sort(means.begin(), means.end());
  constexpr int kTail = kBootstrapResamples / 40;  // 2.5 % at either end
  interval.low = means[kTail];
  interval.high = means[kBootstrapResamples - 1 - kTail];
  return interval;
}

absl::StatusOr<BootstrapInterval> BootstrapMeanDifference(absl::Span<const double> a,
                                                          absl::Span<const double> b,
                                                          uint64_t seed) {
  if (a.size() != b.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the results have ", a.size(), " and ", b.size(),
                     " rows; a paired difference needs the same rows"));
  }
  std::vector<double> differences(a.size());
  for (size_t i = 0; i < a.size(); ++i) differences[i] = a[i] - b[i];
  return BootstrapMean(differences, seed);
}

}  // namespace graft
