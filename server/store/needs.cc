#include "server/store/needs.h"

#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/jobs/method.h"
#include "common/methods/method_spec.h"

namespace graft {

JobNeeds NeedsOf(const v1::JobSpec& resolved) {
  JobNeeds needs;
  const v1::Precision precision = resolved.has_evaluate()
                                      ? resolved.evaluate().precision()
                                      : resolved.fine_tune().training().precision();
  if (precision == v1::PRECISION_FP32) needs.precision = "fp32";
  if (precision == v1::PRECISION_BF16) needs.precision = "bf16";
  if (precision == v1::PRECISION_FP64) needs.precision = "fp64";
  std::vector<absl::string_view> methods;
  for (const Method* method : MethodsOf(resolved.fine_tune().method())) {
    if (method->must_be_known()) methods.push_back(method->name());
  }
  if (!resolved.evaluate().adapters().empty()) methods.push_back(kSeveralAdapters);
  needs.methods = absl::StrJoin(methods, "+");
  return needs;
}

JobNeeds NeedsOf(const v1::Execution& execution, const JobNeeds& before) {
  return {execution.device(), execution.cpu_capability(), execution.precision(), before.methods};
}

}  // namespace graft
