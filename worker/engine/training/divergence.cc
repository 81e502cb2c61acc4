#include "worker/engine/training/divergence.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace graft {
namespace {

bool IsFinite(const at::Tensor& tensor) { return at::isfinite(tensor).all().item<bool>(); }

}  // namespace

absl::Status DivergedAt(absl::string_view text) {
  return absl::OutOfRangeError(
      absl::StrCat("diverged at ", text,
                   "; a smaller learning rate, warm-up steps or a smaller max_grad_norm may help"));
}

std::string DivergentRowsText(const std::vector<DivergentRow>& rows, size_t count,
                              size_t step_rows) {
  std::vector<std::string> lines;
  for (const DivergentRow& row : rows) {
    lines.push_back(row.id.empty() ? absl::StrCat(row.line)
                                   : absl::StrCat(row.line, " (id \"", row.id, "\")"));
  }
  return absl::StrCat(
      count == 1 ? ", by the row at line " : ", by the rows at lines ", absl::StrJoin(lines, ", "),
      count > rows.size() ? ", ..." : "", " of the training set",
      count == step_rows ? (count == 1 ? ", its only one" : ", all that it has") : "");
}

bool AllFinite(const std::vector<at::Tensor>& tensors) {
  const c10::NoGradGuard no_grad;
  return std::all_of(tensors.begin(), tensors.end(), IsFinite);
}

absl::Status CheckPublishable(const std::vector<std::string>& names,
                              const std::vector<at::Tensor>& tensors, int64_t step) {
  const c10::NoGradGuard no_grad;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (IsFinite(tensors[i].to(at::kFloat))) continue;
    return DivergedAt(
        absl::StrCat("step ", step, ": tensor ", names[i], " holds NaN or infinite values"));
  }
  return absl::OkStatus();
}

}  // namespace graft
