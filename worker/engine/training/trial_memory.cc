// What a Trial does about memory: it tries its longest rows before the first step, and halves its
// micro-batch where memory ends.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/byte_text.h"
#include "common/base/status_macros.h"
#include "worker/engine/failure.h"
#include "worker/engine/gpt2/forward.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/gpt2/tensor_memory.h"
#include "worker/engine/training/trial.h"

namespace graft {
namespace {

// Elements that a pass holds at its peak for each token and channel of a block. Measured: 5 (the
// last of 6 blocks alone) to 41 (DoRA on all modules with dropout).
constexpr int64_t kElementsPerChannel = 56;
// For each score of an attention that keeps them: with dropout, or behind a prefix. Measured: 3.
constexpr int64_t kElementsPerScore = 4;
// For each trained one: gradient, one that is added to it, the best of all evaluations, a cast.
constexpr int64_t kElementsPerTrained = 4;
// Of the label loss, whose logits live in pieces.
constexpr int64_t kElementsOfLogits = 3 * (int64_t{1} << 24);
// Of a row's length, to which the error knows what would fit.
constexpr int64_t kPartsOfLength = 32;

// The first tokens of one row, at least half of them with labels.
class FirstTokens : public ExampleSource {
 public:
  FirstTokens(const Example& whole, int64_t count)
      : row_{whole.ids.first(static_cast<size_t>(count)),
             std::min(whole.num_prompt_tokens, count / 2)} {}
  int64_t size() const override { return 1; }
  Example Get(int64_t) const override { return row_; }

 private:
  const Example row_;
};

}  // namespace

int64_t Trial::MicroBatchRows() const {
  const int64_t halved = state_.execution.batch_size;
  return halved > 0 ? std::min(halved, config_.batch_size) : config_.batch_size;
}

void Trial::StartStepAgain() {
  step_.reset();
  ClearGradients();
}

// Longest first. What a step has beside its longest row is padded to the same length: no
// micro-batch of the run takes more than the longest ones together.
std::vector<int64_t> Trial::LongestRows(int64_t count) const {
  std::vector<int64_t> rows(static_cast<size_t>(train_.size()));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  rows = WithoutLeftOut(rows);
  const auto end = rows.begin() + std::min(count, static_cast<int64_t>(rows.size()));
  std::partial_sort(rows.begin(), end, rows.end(), [this](int64_t a, int64_t b) {
    const size_t length_a = train_.Get(a).ids.size(), length_b = train_.Get(b).ids.size();
    return length_a != length_b ? length_a > length_b : a < b;
  });
  rows.erase(end, rows.end());
  return rows;
}

// By a generous estimate of what a pass takes for so many rows that are as long as the longest.
bool Trial::MemoryMayBeShort(int64_t rows) const {
  const c10::NoGradGuard no_grad;
  const Gpt2Network network = adapter_.Bind();
  const TensorMemory memory = TensorMemoryOf(network.device());
  if (memory.limit_bytes == 0) return false;
  int64_t length = 0;
  for (int64_t row = 0; row < train_.size(); ++row) {
    length = std::max(length, static_cast<int64_t>(train_.Get(row).ids.size()));
  }
  length += network.num_prompt_rows();
  const int64_t tokens = rows * length;
  int64_t elements =
      kElementsOfLogits + tokens * network.num_layers() * network.width() * kElementsPerChannel;
  if (config_.attention_dropout > 0 || network.prefix_length() > 0) {
    elements += tokens * (length + network.prefix_length()) * network.num_layers() *
                network.num_heads * kElementsPerScore;
  }
  for (const at::Tensor& trained : state_.trained) {
    elements += kElementsPerTrained * trained.numel();
  }
  const auto size = static_cast<int64_t>(c10::elementSize(network.stream_dtype()));
  return memory.used_bytes + elements * size > memory.limit_bytes;
}

// A night's job adapts, or fails, before its first step.
absl::Status Trial::TryLongestRows() {
  if (Done()) return absl::OkStatus();
  if (!options_.tries_longest_rows && !MemoryMayBeShort(MicroBatchRows())) return absl::OkStatus();
  const std::vector<int64_t> longest = LongestRows(MicroBatchRows());
  if (longest.empty()) return absl::OkStatus();
  absl::Status out_of_memory;
  for (;;) {
    const absl::Status asked = stop_.Poll();
    if (!asked.ok()) return Leave(asked);
    const size_t count = std::min(longest.size(), static_cast<size_t>(MicroBatchRows()));
    const absl::Status passed = DryPass(train_, std::span(longest).first(count));
    if (passed.ok()) break;
    if (!IsOutOfMemory(passed)) return passed;
    out_of_memory = passed;
    RETURN_IF_ERROR(Halve(out_of_memory, longest[0]));
  }
  if (!out_of_memory.ok()) TellMicroBatch(out_of_memory);
  return absl::OkStatus();
}

// Forward and backward of these rows, beside all that is there when the run is under way: the
// gradients of earlier micro-batches, and the tensors of the best evaluation.
absl::Status Trial::DryPass(const ExampleSource& source, std::span<const int64_t> rows) {
  const absl::Status passed = CatchTorchErrors([&] {
    std::vector<at::Tensor> best;
    for (at::Tensor& trained : state_.trained) {
      c10::NoGradGuard no_grad;
      trained.mutable_grad() = at::zeros_like(trained);
      const bool comes = evaluator_ != nullptr && state_.best_tensors.empty();
      if (comes) best.push_back(at::empty_like(trained));
    }
    const c10::AutoGradMode with_gradients(true);
    const Gpt2Network network = adapter_.Bind();
    const Batch batch = MakeBatch(source, rows, network.num_prompt_rows(), network.device());
    if (batch.num_labels() == 0) return absl::OkStatus();
    const DropoutPlan dropout = MakeDropoutPlan(0);
    LabelLoss(network, HiddenStates(network, batch.ids, batch.positions, &dropout), batch.targets,
              1.0 / static_cast<double>(batch.num_labels()))
        .backward();
    return absl::OkStatus();
  });
  ClearGradients();
  if (!passed.ok()) ReleaseFreeMemory(adapter_.tensors()[0].tensor.device());
  return passed;
}

absl::Status Trial::Halve(const absl::Status& out_of_memory, int64_t row) {
  const int64_t rows = std::min(MicroBatchRows(), train_.size());
  if (rows == 1) return TooLarge(out_of_memory, row);
  state_.execution.batch_size = (rows + 1) / 2;
  return absl::OkStatus();
}

void Trial::TellMicroBatch(const absl::Status& out_of_memory) {
  const int64_t rows = MicroBatchRows(), micro_batches = plan_.micro_batches(rows);
  if (options_.on_micro_batch) options_.on_micro_batch(rows, micro_batches);
  sink_.OnWarning(
      "MICRO_BATCH_HALVED",
      absl::StrCat("memory does not hold ", config_.batch_size, " rows at a time (",
                   out_of_memory.message(), "): from step ", state_.step + 1, " on ", rows,
                   rows == 1 ? " goes" : " go", " through the model at a time, and a step is ",
                   micro_batches, " of these: the same rows, and the same mean over their tokens"));
}

absl::Status Trial::HalveMicroBatch(const absl::Status& out_of_memory) {
  if (!step_) return out_of_memory;
  const int64_t row = step_->rows[std::max<size_t>(step_->begin, 1) - 1];
  StartStepAgain();
  ReleaseFreeMemory(state_.trained[0].device());
  RETURN_IF_ERROR(Halve(out_of_memory, row));
  TellMicroBatch(out_of_memory);
  // Whoever resumes cuts the steps in the same way.
  return SaveUnlessSaved();
}

// By trying, it knows what would fit, and what the row would need.
absl::Status Trial::TooLarge(const absl::Status& out_of_memory, int64_t row) {
  const Example whole = train_.Get(row);
  const auto length = static_cast<int64_t>(whole.ids.size());
  const c10::Device device = state_.trained[0].device();
  int64_t fits = 0, peak = 0;
  for (int64_t too_long = length;
       too_long - fits > std::max<int64_t>(1, length / kPartsOfLength);) {
    const absl::Status asked = stop_.Poll();
    if (!asked.ok()) return Leave(asked);
    const int64_t tokens = (fits + too_long) / 2;
    const int64_t rows[] = {0};
    ResetPeak(device);
    const absl::Status passed = DryPass(FirstTokens(whole, tokens), rows);
    if (passed.ok()) {
      fits = tokens;
      peak = TensorMemoryOf(device).peak_bytes;
    } else if (IsOutOfMemory(passed)) {
      too_long = tokens;
    } else {
      return passed;
    }
  }
  const TensorMemory memory = TensorMemoryOf(device);
  std::string text = absl::StrCat(
      out_of_memory.message(), "; that was for ", Places({&row, 1}), " alone, of ", length,
      " tokens. Base model, adapter and optimiser take ", FormatBytes(memory.used_bytes));
  if (fits == 0) {
    absl::StrAppend(&text, ", and no row fits beside them");
  } else {
    // Its share of a pass grows with the tokens, or faster.
    const double per_token =
        static_cast<double>(peak - memory.used_bytes) / static_cast<double>(fits);
    const double more = per_token * static_cast<double>(length - fits);
    const int64_t needed = peak + static_cast<int64_t>(more) + memory.budget_bytes -
                           (memory.budget_bytes > 0 ? memory.limit_bytes : 0);
    absl::StrAppend(&text, ", and a row of ", fits, " tokens fits beside them (", FormatBytes(peak),
                    " at the peak): with max_source_tokens and "
                    "max_target_tokens of so many together the job runs here; as it is, its engine "
                    "needs ",
                    FormatBytes(needed), " or more (graft-worker --engine-memory-gb)");
  }
  return WithFailureClass(absl::ResourceExhaustedError(text), FailureClass::kOutOfMemory);
}

}  // namespace graft
