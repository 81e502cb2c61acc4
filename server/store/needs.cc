#include "server/store/needs.h"

namespace graft {

JobNeeds NeedsOf(const v1::JobSpec& resolved) {
  JobNeeds needs;
  const v1::Precision precision = resolved.has_evaluate()
                                      ? resolved.evaluate().precision()
                                      : resolved.fine_tune().training().precision();
  if (precision == v1::PRECISION_FP32) needs.precision = "fp32";
  if (precision == v1::PRECISION_BF16) needs.precision = "bf16";
  if (precision == v1::PRECISION_FP64) needs.precision = "fp64";
  return needs;
}

JobNeeds NeedsOf(const v1::Execution& execution) {
  return {execution.device(), execution.cpu_capability(), execution.precision()};
}

}  // namespace graft
