#pragma once

// How small a difference of two adapters' ROUGE-Lsum so many rows can show.
//
// The mean difference of n paired rows has the 95 % interval ± z s / sqrt(n), where s is the
// deviation of the rows' differences (W. G. Cochran, Sampling Techniques, 1977, 4.4): a smaller
// difference cannot be told from none. Before a run s is not known; docs/EVALUATION.md says what
// the usual one was measured on.

#include <cstdint>

namespace graft {

// Of the F-measure, which is 0 to 1.
inline constexpr double kUsualDeviation = 0.105;
inline constexpr double kDefaultDetectableDifference = 0.01;

// `rows` > 0.
double DetectableDifference(int64_t rows);
// `difference` > 0.
int64_t RowsToDetect(double difference);

}  // namespace graft
