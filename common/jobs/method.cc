#include "common/jobs/method.h"

namespace graft {

std::string MethodName(const v1::JobSpec& spec) {
  return spec.has_evaluate() ? "evaluate" : MethodName(spec.fine_tune().method());
}

}  // namespace graft
