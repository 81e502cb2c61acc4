#pragma once

// 95 % intervals by the percentile bootstrap (B. Efron, 1979), with a generator that anybody can
// repeat: docs/EVALUATION.md has it in a few lines of Python that give the same bits.

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace graft {

inline constexpr int kBootstrapResamples = 1000;

struct BootstrapInterval {
  double mean = 0;  // of the values themselves
  double low = 0;
  double high = 0;
};

// Draws kBootstrapResamples times as many values as there are, with replacement, and gives the 26th
// smallest and the 26th largest of their means. The same seed and number of values draw the same
// rows whatever the values are, so that several metrics of the same rows go together. Pure,
// thread-safe. INVALID_ARGUMENT: no values, or one is not finite (its index is named).
absl::StatusOr<BootstrapInterval> BootstrapMean(absl::Span<const double> values, uint64_t seed);

// The same of the differences a[i] - b[i] of two results on the same rows.
// INVALID_ARGUMENT: also if their numbers differ.
absl::StatusOr<BootstrapInterval> BootstrapMeanDifference(absl::Span<const double> a,
                                                          absl::Span<const double> b,
                                                          uint64_t seed);

}  // namespace graft
