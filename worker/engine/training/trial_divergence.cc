// What a Trial does about a step whose loss or gradient is not finite, and in the end about tensors
// that are not.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/gpt2/forward.h"
#include "worker/engine/training/adamw.h"
#include "worker/engine/training/divergence.h"
#include "worker/engine/training/trial.h"

namespace graft {
namespace {

// Who diverges more often does so by something else than a few rows.
constexpr int64_t kMaxTimesGoneBack = 10;

}  // namespace

bool Trial::IsLeftOut(int64_t row) const {
  return std::binary_search(state_.left_out.begin(), state_.left_out.end(), row);
}

std::vector<int64_t> Trial::WithoutLeftOut(std::span<const int64_t> rows) const {
  std::vector<int64_t> kept;
  kept.reserve(rows.size());
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(kept),
               [this](int64_t row) { return !IsLeftOut(row); });
  return kept;
}

// A step that has labels only in rows that are left out passes without an update, so that the
// others keep their places in order and schedule.
absl::Status Trial::PassEmptySteps() {
  while (!Done()) {
    const std::span<const int64_t> rows = RowsOfStep();
    const std::vector<int64_t> kept = WithoutLeftOut(rows);
    if (kept.size() == rows.size()) break;
    if (CountLabels(train_, kept, adapter_.Bind().num_prompt_rows()) > 0) break;
    RETURN_IF_ERROR(SkipUpdate(absl::StrCat("step ", state_.step + 1, ": its rows are left out")));
    RETURN_IF_ERROR(Advance());
  }
  return absl::OkStatus();
}

// Alone in its pass, so that no other row is in its numbers: those of the mean over its own labels.
Trial::StepNumbers Trial::Replay(int64_t row, const DropoutPlan& dropout) {
  const c10::AutoGradMode with_gradients(true);
  const Gpt2Network network = adapter_.Bind();
  const int64_t rows[] = {row};
  const Batch batch = MakeBatch(train_, rows, network.num_prompt_rows(), network.device());
  if (batch.num_labels() == 0) return {};
  const at::Tensor hidden = HiddenStates(network, batch.ids, batch.positions, &dropout);
  const at::Tensor loss =
      LabelLoss(network, hidden, batch.targets, 1.0 / static_cast<double>(batch.num_labels()));
  loss.backward();
  const StepNumbers numbers = {loss.item<double>(), GradientNorm(state_.trained).item<double>()};
  ClearGradients();
  return numbers;
}

// The update was suppressed: the rows meet the tensors that the step met.
absl::StatusOr<std::vector<DivergentRow>> Trial::FindDivergentRows(std::span<const int64_t> rows) {
  std::vector<DivergentRow> found;
  const auto batch_size = static_cast<size_t>(MicroBatchRows());
  for (size_t i = 0; i < rows.size(); ++i) {
    const absl::Status asked = stop_.Poll();
    if (!asked.ok() && !IsPaused(asked)) return asked;  // A pause waits for the step's end.
    if (IsLeftOut(rows[i])) continue;
    const StepNumbers numbers =
        Replay(rows[i], MakeDropoutPlan(static_cast<int64_t>(i / batch_size)));
    if (numbers.finite()) continue;
    found.push_back({rows[i], train_.Line(rows[i]), "", "", numbers.loss, numbers.grad_norm});
  }
  return found;
}

absl::Status Trial::Diverged(const StepNumbers& numbers, std::span<const int64_t> rows) {
  DivergenceEvent event;
  event.step = state_.step + 1;
  event.loss = numbers.loss;
  event.grad_norm = numbers.grad_norm;
  ASSIGN_OR_RETURN(event.rows, FindDivergentRows(rows));
  std::vector<int64_t> left_out = state_.left_out;
  for (const DivergentRow& row : event.rows) left_out.push_back(row.row);
  std::sort(left_out.begin(), left_out.end());
  const size_t count = event.rows.size();
  event.rows.resize(std::min(count, kMaxDivergentRows));
  for (DivergentRow& row : event.rows) row.row = train_.Row(row.row);
  if (options_.describe_rows) options_.describe_rows(event.rows);

  const std::string text = absl::StrCat(
      "step ", event.step, ": loss ", numbers.loss, ", gradient norm ", numbers.grad_norm,
      count > 0 ? DivergentRowsText(event.rows, count, rows.size())
                : absl::StrCat(", though each of ", Places(rows), " is finite by itself"));
  const bool goes_back = config_.on_divergence == DivergencePolicy::kRollBack && count > 0;
  const bool others_are_finite = count > 0 && count < rows.size();
  const absl::Status ended =
      config_.on_divergence == DivergencePolicy::kStop
          ? DivergedAt(absl::StrCat(
                text, others_are_finite ? "; on_divergence roll_back goes on without them" : ""))
      : goes_back ? CheckCanGoBack(left_out, text)
                  : SkipUpdate(text);
  if (ended.ok()) {
    event.action = goes_back ? DivergenceAction::kRolledBack : DivergenceAction::kSkipped;
    event.rolled_back_to_step = goes_back ? saved_step_ : 0;
  }
  sink_.OnDivergence(event);
  RETURN_IF_ERROR(ended);
  return goes_back ? GoBack(std::move(left_out)) : Advance();
}

absl::Status Trial::SkipUpdate(absl::string_view text) {
  ++state_.skipped_in_a_row;
  if (!IsHopeless()) return absl::OkStatus();
  return DivergedAt(
      absl::StrCat(text, "; ", state_.skipped_in_a_row, " updates up to there were skipped"));
}

// Has nothing that could be published, and no later step would change that: no row gives a finite
// update any more.
bool Trial::IsHopeless() const {
  if (!state_.best_tensors.empty()) return false;
  return state_.skipped_in_a_row >= plan_.steps_per_epoch || !AllFinite(state_.trained);
}

absl::Status Trial::CheckCanGoBack(const std::vector<int64_t>& left_out,
                                   absl::string_view text) const {
  if (state_.times_gone_back >= kMaxTimesGoneBack) {
    return DivergedAt(absl::StrCat(text, "; the run has gone back ", kMaxTimesGoneBack,
                                   " times already, and left out ", state_.left_out.size(),
                                   " rows"));
  }
  if (static_cast<int64_t>(left_out.size()) < train_.size()) return absl::OkStatus();
  return DivergedAt(absl::StrCat(text, "; without them no row is left to train on"));
}

// Whoever is killed before the next checkpoint comes to the same divergence from the same one, and
// goes back again.
absl::Status Trial::GoBack(std::vector<int64_t> left_out) {
  const int64_t times = state_.times_gone_back + 1;
  if (newest_.empty()) {
    const int64_t micro_batch_rows = state_.execution.batch_size;
    state_ = TrainingState();
    c10::NoGradGuard no_grad;
    for (size_t i = 0; i < beginning_.size(); ++i) {
      adapter_.tensors()[i].tensor.copy_(beginning_[i]);
    }
    StartState();
    state_.execution.batch_size = micro_batch_rows;
  } else {
    RETURN_IF_ERROR(Load(newest_).status());
  }
  state_.left_out = std::move(left_out);
  state_.times_gone_back = times;
  if (!AllFinite(state_.trained)) {
    return DivergedAt(absl::StrCat("step ", state_.step + 1, ": the checkpoint to go back to, ",
                                   newest_, ", holds NaN or infinite values"));
  }
  // As of a run that is resumed from there.
  return state_.evaluation_due ? Evaluate() : absl::OkStatus();
}

// Of the tensors as the last update left them, on the first labels of their epoch for which it is
// finite: a row may be at fault. Not finite: for none.
absl::StatusOr<double> Trial::LossOfLastTensors() {
  c10::NoGradGuard no_grad;
  const Gpt2Network network = adapter_.Bind();
  const std::span<const int64_t> order = Order(plan_.epoch(state_.step - 1));
  const auto batch_size = static_cast<size_t>(MicroBatchRows());
  double loss = 0;
  for (size_t begin = 0; begin < order.size(); begin += batch_size) {
    const std::span<const int64_t> rows =
        order.subspan(begin, std::min(batch_size, order.size() - begin));
    const Batch batch =
        MakeBatch(train_, WithoutLeftOut(rows), network.num_prompt_rows(), network.device());
    if (batch.num_labels() == 0) continue;
    const at::Tensor hidden = HiddenStates(network, batch.ids, batch.positions, nullptr);
    loss = LabelLoss(network, hidden, batch.targets, 1.0 / static_cast<double>(batch.num_labels()))
               .item<double>();
    if (std::isfinite(loss)) break;
    RETURN_IF_ERROR(stop_.Poll());
  }
  return loss;
}

// The last tensors count when no evaluation was finite: because there was none, or because they
// never gave one.
absl::Status Trial::CheckLastTensors() {
  if (evaluator_ != nullptr) {
    return DivergedAt(absl::StrCat("step ", state_.step, ": no evaluation gave a finite loss"));
  }
  ASSIGN_OR_RETURN(const double loss, LossOfLastTensors());
  if (std::isfinite(loss)) return absl::OkStatus();
  return DivergedAt(absl::StrCat("step ", state_.step, ": after its update the loss is ", loss));
}

}  // namespace graft
