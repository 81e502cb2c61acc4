#include "worker/engine/training/validation_loss.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/failure.h"
#include "worker/engine/gpt2/forward.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/training/batch.h"

namespace graft {

absl::StatusOr<ValidationLoss> ComputeValidationLoss(const Gpt2Network& network,
                                                     const ExampleSource& source,
                                                     int64_t batch_size, StopToken& stop,
                                                     const std::function<void(int64_t)>& on_rows,
                                                     LossSum* so_far) {
  c10::NoGradGuard no_grad;
  std::vector<int64_t> order(source.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return source.Get(a).ids.size() < source.Get(b).ids.size();
  });
  const int64_t prompt = network.num_prompt_rows();
  LossSum of_this_call;
  LossSum& done = so_far == nullptr ? of_this_call : *so_far;
  while (done.rows < source.size()) {
    RETURN_IF_ERROR(stop.Poll());
    const auto begin = static_cast<size_t>(done.rows);
    const size_t count = std::min<size_t>(batch_size, order.size() - begin);
    const Batch batch =
        MakeBatch(source, std::span(order).subspan(begin, count), prompt, network.device());
    if (batch.num_labels() > 0) {
      const absl::Status passed = CatchTorchErrors([&] {
        const at::Tensor hidden = HiddenStates(network, batch.ids, batch.positions, nullptr);
        done.sum += LabelLoss(network, hidden, batch.targets, 1).item<double>();
        return absl::OkStatus();
      });
      if (IsOutOfMemory(passed) && count > 1) {
        batch_size = static_cast<int64_t>(count + 1) / 2;
        ReleaseFreeMemory(network.device());
        continue;
      }
      if (!passed.ok()) {
        return Annotate(
            passed, absl::StrCat("validation, ", count, " rows of ", batch.ids.size(1), " tokens"));
      }
      done.num_tokens += batch.num_labels();
    }
    done.rows += static_cast<int64_t>(count);
    if (on_rows) on_rows(static_cast<int64_t>(count));
  }
  if (done.num_tokens == 0) {
    return absl::InvalidArgumentError(
        "the validation set has no label: in no row a target's token follows another token");
  }
  return ValidationLoss{done.sum / static_cast<double>(done.num_tokens), done.num_tokens};
}

}  // namespace graft
