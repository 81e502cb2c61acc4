#include "worker/engine/training/validation_loss.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/formats/row_loss_file.h"
#include "worker/engine/failure.h"
#include "worker/engine/gpt2/forward.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/training/batch.h"

namespace graft {
namespace {

// The batches of a pass over a data set, one after the other.
class LossPass {
 public:
  LossPass(const Gpt2Network& network, const ExampleSource& source, int64_t batch_size)
      : network_(network),
        source_(source),
        batch_size_(batch_size),
        order_(source.size()),
        told_end_(EndOfToldRows(source, network.num_prompt_rows())) {
    std::iota(order_.begin(), order_.end(), 0);
    std::stable_sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) {
      return source.Get(a).ids.size() < source.Get(b).ids.size();
    });
  }

  // The rows of the batch that begins with this one of the order.
  std::span<const int64_t> RowsAt(int64_t begin) const {
    const auto first = static_cast<size_t>(begin);
    return std::span(order_).subspan(
        first, std::min<size_t>(static_cast<size_t>(batch_size_), order_.size() - first));
  }

  // Has it one of those whose losses are told?
  bool TellsRowOf(std::span<const int64_t> batch) const {
    return std::any_of(batch.begin(), batch.end(), [&](int64_t row) { return row < told_end_; });
  }

  // Computes the batch that begins with this one of the order, or, where memory does not hold it,
  // half of it; adds it to `sum`, and returns how many rows it had.
  absl::StatusOr<int64_t> Add(int64_t begin, LossSum& sum) {
    while (true) {
      const std::span<const int64_t> rows = RowsAt(begin);
      const Batch batch = MakeBatch(source_, rows, network_.num_prompt_rows(), network_.device());
      const absl::Status passed = CatchTorchErrors([&] {
        if (batch.num_labels() > 0) AddBatch(batch, rows, sum);
        return absl::OkStatus();
      });
      if (passed.ok()) return static_cast<int64_t>(rows.size());
      if (!IsOutOfMemory(passed) || rows.size() == 1) {
        return Annotate(passed, absl::StrCat("the losses of ", rows.size(), " rows of ",
                                             batch.ids.size(1), " tokens"));
      }
      batch_size_ = static_cast<int64_t>(rows.size() + 1) / 2;
      ReleaseFreeMemory(network_.device());
    }
  }

 private:
  int64_t NumLabels(int64_t row) const {
    return CountLabels(source_, {&row, 1}, network_.num_prompt_rows());
  }

  // Whole or, by an exception, not at all. The labels of a batch are those of its first row, then
  // those of the next.
  void AddBatch(const Batch& batch, std::span<const int64_t> rows, LossSum& sum) const {
    const at::Tensor hidden = HiddenStates(network_, batch.ids, batch.positions, nullptr);
    const at::Tensor each = EachLabelLoss(network_, hidden, batch.targets);
    const double of_batch = each.sum().item<double>();
    const at::Tensor here = each.to(at::kCPU, at::kDouble);
    const double* losses = here.const_data_ptr<double>();
    for (const int64_t row : rows) {
      RowLoss loss = {row, NumLabels(row), 0};
      for (int64_t i = 0; i < loss.num_tokens; ++i) loss.sum += *losses++;
      if (row < told_end_ && loss.num_tokens > 0) sum.of_rows.push_back(loss);
    }
    sum.sum += of_batch;
    sum.num_tokens += batch.num_labels();
  }

  const Gpt2Network& network_;
  const ExampleSource& source_;
  int64_t batch_size_;
  std::vector<int64_t> order_;
  const int64_t told_end_;  // Behind the last row whose loss is told by itself.
};

void SortByIndex(std::vector<RowLoss>& rows) {
  std::sort(rows.begin(), rows.end(),
            [](const RowLoss& a, const RowLoss& b) { return a.index < b.index; });
}

}  // namespace

int64_t EndOfToldRows(const ExampleSource& source, int64_t num_prompt_rows) {
  int64_t end = 0;
  for (int64_t told = 0; end < source.size() && told < kMaxRowLosses; ++end) {
    told += CountLabels(source, {&end, 1}, num_prompt_rows) > 0 ? 1 : 0;
  }
  return end;
}

absl::StatusOr<ValidationLoss> ComputeValidationLoss(const Gpt2Network& network,
                                                     const ExampleSource& source,
                                                     int64_t batch_size, StopToken& stop,
                                                     const std::function<void(int64_t)>& on_rows,
                                                     LossSum* so_far) {
  c10::NoGradGuard no_grad;
  LossPass pass(network, source, batch_size);
  LossSum of_this_call;
  LossSum& done = so_far == nullptr ? of_this_call : *so_far;
  while (done.rows < source.size()) {
    RETURN_IF_ERROR(stop.Poll());
    ASSIGN_OR_RETURN(const int64_t rows, pass.Add(done.rows, done));
    done.rows += rows;
    if (on_rows) on_rows(rows);
  }
  if (done.num_tokens == 0) {
    return absl::InvalidArgumentError(
        "the validation set has no label: in no row a target's token follows another token");
  }
  SortByIndex(done.of_rows);
  return ValidationLoss{done.sum / static_cast<double>(done.num_tokens), done.num_tokens};
}

absl::StatusOr<std::vector<RowLoss>> ComputeRowLosses(const Gpt2Network& network,
                                                      const ExampleSource& source,
                                                      int64_t batch_size, StopToken& stop,
                                                      const std::function<void(int64_t)>& on_rows) {
  c10::NoGradGuard no_grad;
  LossPass pass(network, source, batch_size);
  LossSum sum;
  while (sum.rows < source.size()) {
    RETURN_IF_ERROR(stop.Poll());
    const std::span<const int64_t> batch = pass.RowsAt(sum.rows);
    auto rows = static_cast<int64_t>(batch.size());
    if (pass.TellsRowOf(batch)) {
      ASSIGN_OR_RETURN(rows, pass.Add(sum.rows, sum));
    }
    sum.rows += rows;
    if (on_rows) on_rows(rows);
  }
  SortByIndex(sum.of_rows);
  return std::move(sum.of_rows);
}

}  // namespace graft
