#include "common/base/mean_interval.h"

#include <cmath>
#include <iterator>

namespace graft {
namespace {

// For 1 to 30 degrees of freedom.
constexpr double kT975[] = {12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912,
                            2.364624,  2.306004, 2.262157, 2.228139, 2.200985, 2.178813,
                            2.160369,  2.144787, 2.131450, 2.119905, 2.109816, 2.100922,
                            2.093024,  2.085963, 2.079614, 2.073873, 2.068658, 2.063899,
                            2.059539,  2.055529, 2.051831, 2.048407, 2.045230, 2.042272};

}  // namespace

double StudentT975(int freedom) {
  if (freedom <= static_cast<int>(std::size(kT975))) return kT975[freedom - 1];
  // M. Abramowitz, I. A. Stegun, Handbook of Mathematical Functions, 26.7.5.
  constexpr double z = 1.959963984540054;
  const double n = freedom;
  const double g1 = (std::pow(z, 3) + z) / 4;
  const double g2 = (5 * std::pow(z, 5) + 16 * std::pow(z, 3) + 3 * z) / 96;
  const double g3 = (3 * std::pow(z, 7) + 19 * std::pow(z, 5) + 17 * std::pow(z, 3) - 15 * z) / 384;
  return z + g1 / n + g2 / (n * n) + g3 / (n * n * n);
}

MeanInterval IntervalOf(const std::vector<double>& values) {
  MeanInterval interval;
  if (values.empty()) return interval;
  const auto count = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) sum += value;
  interval.mean = sum / count;
  if (values.size() < 2) return interval;
  double squares = 0;
  for (const double value : values) squares += std::pow(value - interval.mean, 2);
  interval.deviation = std::sqrt(squares / (count - 1));
  const double half =
      StudentT975(static_cast<int>(values.size()) - 1) * interval.deviation / std::sqrt(count);
  interval.low = interval.mean - half;
  interval.high = interval.mean + half;
  return interval;
}

}  // namespace graft
