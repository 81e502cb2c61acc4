#include "common/jobs/step_count.h"

#include <algorithm>
#include <cmath>

namespace graft {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return a / b + (a % b != 0); }

// ceil(share * count), where a product that is whole but for rounding counts as whole: 0.1 * 30 is
// 3, not 4.
int64_t CeilShare(double share, int64_t count) {
  const double product = share * static_cast<double>(count);
  const double nearest = std::round(product);
  if (std::abs(product - nearest) <= 1e-9 * std::max(1.0, nearest)) {
    return static_cast<int64_t>(nearest);
  }
  return static_cast<int64_t>(std::ceil(product));
}

}  // namespace

int64_t StepsPerEpoch(int64_t rows, const v1::TrainingSpec& resolved) {
  return CeilDiv(CeilDiv(rows, std::max(1, resolved.batch_size())),
                 std::max(1, resolved.gradient_accumulation_steps()));
}

int64_t TotalSteps(int64_t rows, const v1::TrainingSpec& resolved) {
  if (resolved.has_max_steps()) return resolved.max_steps();
  return resolved.epochs() * StepsPerEpoch(rows, resolved);
}

int64_t WarmupSteps(int64_t total_steps, const v1::TrainingSpec& resolved) {
  if (resolved.has_warmup_steps()) return resolved.warmup_steps();
  return CeilShare(resolved.warmup_ratio(), total_steps);
}

int64_t HeldOutRows(int64_t rows, double fraction) { return CeilShare(fraction, rows); }

}  // namespace graft
