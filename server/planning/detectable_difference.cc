#include "server/planning/detectable_difference.h"

#include <algorithm>
#include <cmath>

namespace graft {
namespace {

constexpr double kNormal975 = 1.959963984540054;
constexpr double kMostRows = 9e18;

}  // namespace

double DetectableDifference(int64_t rows) {
  return kNormal975 * kUsualDeviation / std::sqrt(static_cast<double>(rows));
}

int64_t RowsToDetect(double difference) {
  const double rows = std::pow(kNormal975 * kUsualDeviation / difference, 2);
  return static_cast<int64_t>(std::ceil(std::min(rows, kMostRows)));
}

}  // namespace graft
