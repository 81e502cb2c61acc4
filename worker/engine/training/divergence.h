#pragma once

// What every error about a run that diverged has in common.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// OUT_OF_RANGE "diverged at step 3: …; <what may help>". `text` begins with the step.
absl::Status DivergedAt(absl::string_view text);

// ", by the rows at lines 3, 7 (id "r6") of the training set": of `count` rows that are not finite,
// out of a step's `step_rows`, the ones that are given.
std::string DivergentRowsText(const std::vector<DivergentRow>& rows, size_t count,
                              size_t step_rows);

bool AllFinite(const std::vector<at::Tensor>& tensors);

// What is published must be finite as F32, in which it is written. DivergedAt naming the tensor
// that is not.
absl::Status CheckPublishable(const std::vector<std::string>& names,
                              const std::vector<at::Tensor>& tensors, int64_t step);

}  // namespace graft
