#pragma once

#include <vector>

namespace graft {

// The mean of values with its 95 % interval by Student's t distribution (W. S. Gosset, 1908): mean
// ± t(0.975, n - 1) s / sqrt(n). With fewer than two values deviation and interval are 0.
struct MeanInterval {
  double mean = 0;
  double deviation = 0;  // s: of the values, with n - 1.
  double low = 0;
  double high = 0;
};
MeanInterval IntervalOf(const std::vector<double>& values);

// The 0.975 quantile of Student's t, to 1e-5. `freedom` is at least 1.
double StudentT975(int freedom);

}  // namespace graft
