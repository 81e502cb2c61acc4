#include "common/jobs/method.h"

#include <vector>

#include "absl/strings/str_join.h"

namespace graft {

std::string MethodName(const v1::Method& method) {
  std::vector<const char*> parts;
  if (method.has_lora()) parts.push_back("lora");
  if (method.has_soft_prompt()) parts.push_back("soft_prompt");
  if (method.has_last_layers()) parts.push_back("last_layers");
  if (method.has_full()) parts.push_back("full");
  return absl::StrJoin(parts, "+");
}

std::string MethodName(const v1::JobSpec& spec) {
  return spec.has_evaluate() ? "evaluate" : MethodName(spec.fine_tune().method());
}

}  // namespace graft
