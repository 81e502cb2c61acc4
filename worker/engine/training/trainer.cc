#include "worker/engine/training/trainer.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "worker/engine/gpt2/forward.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/training/adamw.h"
#include "worker/engine/training/batch.h"
#include "worker/engine/training/checkpoints.h"
#include "worker/engine/training/divergence.h"
#include "worker/engine/training/resumption.h"
#include "worker/engine/training/schedule.h"
#include "worker/engine/training/training_state.h"

namespace graft {
namespace {

// Rows that an error names at the most.
constexpr size_t kMaxRowsInError = 16;

struct StepNumbers {
  double loss = 0;
  double grad_norm = 0;
  int64_t tokens = 0;
  bool finite() const { return std::isfinite(loss) && std::isfinite(grad_norm); }
};

class TrainerRun {
 public:
  TrainerRun(const TrainerOptions& options, const ExampleSource& train, AdapterSet& adapter,
             Evaluator* evaluator, EventSink& sink, StopToken& stop)
      : options_(options),
        config_(options.config),
        train_(train),
        adapter_(adapter),
        evaluator_(evaluator),
        sink_(sink),
        stop_(stop) {}

  absl::StatusOr<TrainingResult> Run();

 private:
  absl::Status CheckRows() const;
  std::string Places(std::span<const int64_t> rows) const;
  void StartState();
  absl::Status Resume();
  const std::vector<int64_t>& Order(int64_t epoch);
  absl::Status Step();
  absl::StatusOr<StepNumbers> AccumulateGradients(std::span<const int64_t> rows);
  DropoutPlan MakeDropoutPlan(int64_t micro_batch) const;
  absl::Status Update(const StepNumbers& numbers, std::span<const int64_t> rows);
  absl::Status Diverged(const StepNumbers& numbers, std::span<const int64_t> rows);
  bool IsHopeless() const;
  void ApplyAdamW(double factor);
  void ClearGradients();
  bool EvaluationIsDue() const;
  bool CheckpointIsDue() const;
  absl::Status Evaluate();
  std::string CheckpointDirectory() const;
  absl::Status WriteCheckpoint();
  absl::Status WriteEvaluation();
  void TellCheckpoint(bool again);
  absl::Status RemoveOldCheckpoints();
  double LossOfLastTensors();
  absl::Status CheckLastTensors();
  absl::StatusOr<TrainingResult> Finish();
  bool Done() const { return state_.step >= plan_.total_steps || state_.early_stopping.stop; }

  const TrainerOptions& options_;
  const TrainingConfig& config_;
  const ExampleSource& train_;
  AdapterSet& adapter_;
  Evaluator* const evaluator_;
  EventSink& sink_;
  StopToken& stop_;

  StepPlan plan_;
  TrainingState state_;
  std::vector<int64_t> order_;
  int64_t order_epoch_ = -1;
  // Of the checkpoint that waits for the evaluation of its step; empty: there is none.
  std::vector<CheckpointFile> saved_;
};

absl::StatusOr<TrainingResult> TrainerRun::Run() {
  if (train_.size() == 0) return absl::InvalidArgumentError("the training set has no rows");
  for (const TrainedTensor& trained : adapter_.tensors()) {
    if (config_.learning_rates.contains(trained.method)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("training.learning_rates: has none for ", trained.method));
  }
  RETURN_IF_ERROR(CheckRows());
  plan_ = MakeStepPlan(config_, train_.size());
  StartState();
  if (!options_.resume_from.empty()) RETURN_IF_ERROR(Resume());
  if (!options_.checkpoint_directory.empty()) RETURN_IF_ERROR(RemoveOldCheckpoints());
  // What a run was stopped in is an evaluation, perhaps.
  if (state_.evaluation_due) RETURN_IF_ERROR(Evaluate());
  while (!Done()) {
    RETURN_IF_ERROR(Step());
    state_.evaluation_due = evaluator_ != nullptr && EvaluationIsDue();
    // Before the evaluation: it may take longer than this process lives.
    if (CheckpointIsDue()) RETURN_IF_ERROR(WriteCheckpoint());
    if (state_.evaluation_due) RETURN_IF_ERROR(Evaluate());
  }
  return Finish();
}

absl::Status TrainerRun::CheckRows() const {
  const Gpt2Network network = adapter_.Bind();
  const int64_t limit = network.n_positions() - network.num_virtual_tokens();
  for (int64_t row = 0; row < train_.size(); ++row) {
    stop_.pulse().Beat();
    const int64_t length = static_cast<int64_t>(train_.Get(row).ids.size());
    if (length > limit) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the row at line ", train_.Line(row), " of the training set has ", length, " tokens; ",
          limit, " fit the model beside ", network.num_virtual_tokens(), " virtual ones"));
    }
  }
  return absl::OkStatus();
}

// Of rows, for errors, in the file that they came from.
std::string TrainerRun::Places(std::span<const int64_t> rows) const {
  std::vector<int64_t> lines;
  for (const int64_t row : rows.first(std::min(rows.size(), kMaxRowsInError))) {
    lines.push_back(train_.Line(row));
  }
  return absl::StrCat("the rows at lines ", absl::StrJoin(lines, ", "),
                      rows.size() > kMaxRowsInError ? ", ..." : "", " of the training set");
}

void TrainerRun::StartState() {
  state_.fingerprint = options_.fingerprint;
  state_.execution = options_.execution;
  state_.num_rows = train_.size();
  c10::NoGradGuard no_grad;
  for (const TrainedTensor& trained : adapter_.tensors()) {
    state_.names.push_back(trained.name);
    state_.trained.push_back(trained.tensor);
    state_.exp_avgs.push_back(at::zeros_like(trained.tensor));
    state_.exp_avg_sqs.push_back(at::zeros_like(trained.tensor));
  }
}

absl::Status TrainerRun::Resume() {
  ASSIGN_OR_RETURN(TrainingState loaded, LoadTrainingState(options_.resume_from, stop_.pulse()));
  const absl::StatusOr<std::string> changed = CheckContinues(loaded, state_, plan_);
  if (!changed.ok()) {
    return Annotate(changed.status(), absl::StrCat("checkpoint ", options_.resume_from));
  }
  if (!changed->empty()) {
    sink_.OnWarning("NOT_BIT_EXACT",
                    absl::StrCat("goes on from step ", loaded.step, " with ", *changed,
                                 ": the last bits may differ from those of a run without it"));
  }
  c10::NoGradGuard no_grad;
  for (size_t i = 0; i < state_.names.size(); ++i) {
    state_.trained[i].copy_(loaded.trained[i]);
    loaded.trained[i] = state_.trained[i];
    for (auto* list : {&loaded.exp_avgs, &loaded.exp_avg_sqs}) {
      (*list)[i] = (*list)[i].to(state_.trained[i].device());
    }
    if (!loaded.best_tensors.empty()) {
      loaded.best_tensors[i] = loaded.best_tensors[i].to(state_.trained[i].device());
    }
  }
  loaded.execution = state_.execution;
  state_ = std::move(loaded);
  if (state_.evaluation_due && options_.resume_from == CheckpointDirectory()) {
    ASSIGN_OR_RETURN(saved_, CheckTrainingState(options_.resume_from, stop_.pulse()));
  }
  // Follows from the step: an earlier version counted rows where micro-batches are counted now.
  for (EvaluationEvent* event : {&state_.best, &state_.last}) {
    event->epoch = plan_.epochs_done(event->step);
  }
  return absl::OkStatus();
}

// Per epoch a torch.randperm seeded with seed + epoch, as the reference (accelerate's seedable
// sampler) has it.
const std::vector<int64_t>& TrainerRun::Order(int64_t epoch) {
  if (epoch != order_epoch_) {
    const at::Tensor permutation = at::randperm(
        train_.size(), at::detail::createCPUGenerator(config_.seed + epoch), at::kLong);
    const int64_t* values = permutation.const_data_ptr<int64_t>();
    order_.assign(values, values + train_.size());
    order_epoch_ = epoch;
  }
  return order_;
}

absl::Status TrainerRun::Step() {
  const absl::Duration start = Clock::Real().Boottime();
  const int64_t step = state_.step;
  const std::span<const int64_t> rows =
      std::span(Order(plan_.epoch(step)))
          .subspan(plan_.begin(step), plan_.end(step) - plan_.begin(step));
  ASSIGN_OR_RETURN(const StepNumbers numbers, AccumulateGradients(rows));
  RETURN_IF_ERROR(Update(numbers, rows));
  state_.step = step + 1;
  state_.epoch = plan_.epoch(state_.step);
  state_.position = plan_.begin(state_.step);
  if (!numbers.finite()) return absl::OkStatus();

  StepEvent event;
  event.step = state_.step;
  event.epoch = plan_.epochs_done(state_.step);
  event.total_steps = plan_.total_steps;
  event.loss = numbers.loss;
  event.grad_norm = numbers.grad_norm;
  event.learning_rate = config_.learning_rates.at(adapter_.tensors()[0].method) *
                        ScheduleFactor(config_.schedule, step, plan_);
  event.tokens_per_second =
      static_cast<double>(numbers.tokens) / absl::ToDoubleSeconds(Clock::Real().Boottime() - start);
  sink_.OnStep(event);
  return absl::OkStatus();
}

// The loss is the mean over all label tokens of the step, whatever micro-batch they are in.
absl::StatusOr<StepNumbers> TrainerRun::AccumulateGradients(std::span<const int64_t> rows) {
  const int64_t prompt_rows = adapter_.Bind().num_prompt_rows();
  const int64_t labels = CountLabels(train_, rows, prompt_rows);
  if (labels == 0) {
    return absl::InvalidArgumentError(absl::StrCat("step ", state_.step + 1, " has no label: in ",
                                                   Places(rows),
                                                   " no target's token follows another token"));
  }
  ClearGradients();
  StepNumbers numbers;
  at::Tensor loss_sum;
  const size_t batch_size = config_.batch_size;
  for (size_t begin = 0; begin < rows.size(); begin += batch_size) {
    RETURN_IF_ERROR(stop_.Poll());
    const std::span<const int64_t> part =
        rows.subspan(begin, std::min(batch_size, rows.size() - begin));
    const Gpt2Network network = adapter_.Bind();
    const Batch batch = MakeBatch(train_, part, prompt_rows, network.device());
    numbers.tokens += batch.num_tokens;
    if (batch.num_labels() == 0) continue;
    const DropoutPlan dropout = MakeDropoutPlan(static_cast<int64_t>(begin / batch_size));
    const at::Tensor hidden = HiddenStates(network, batch.ids, batch.positions, &dropout);
    const at::Tensor loss =
        LabelLoss(network, hidden, batch.targets, 1.0 / static_cast<double>(labels));
    loss.backward();
    c10::NoGradGuard no_grad;
    loss_sum = loss_sum.defined() ? loss_sum + loss : loss.clone();
  }
  const at::Tensor norm = GradientNorm(state_.trained);
  if (config_.max_grad_norm > 0) ClipGradients(state_.trained, norm, config_.max_grad_norm);
  numbers.loss = loss_sum.item<double>();
  numbers.grad_norm = norm.item<double>();
  return numbers;
}

DropoutPlan TrainerRun::MakeDropoutPlan(int64_t micro_batch) const {
  DropoutPlan plan;
  plan.embedding = config_.embedding_dropout;
  plan.attention = config_.attention_dropout;
  plan.residual = config_.residual_dropout;
  plan.first_block = adapter_.base_blocks_train() ? adapter_.first_trained_block() : 0;
  plan.seed = config_.seed;
  plan.step = state_.step;
  plan.micro_batch = micro_batch;
  return plan;
}

absl::Status TrainerRun::Update(const StepNumbers& numbers, std::span<const int64_t> rows) {
  if (!numbers.finite()) {
    ClearGradients();
    return Diverged(numbers, rows);
  }
  ApplyAdamW(ScheduleFactor(config_.schedule, state_.step, plan_));
  ClearGradients();
  state_.skipped_in_a_row = 0;
  return absl::OkStatus();
}

absl::Status TrainerRun::Diverged(const StepNumbers& numbers, std::span<const int64_t> rows) {
  const std::string text =
      absl::StrCat("step ", state_.step + 1, ": loss ", numbers.loss, ", gradient norm ",
                   numbers.grad_norm, ", in ", Places(rows));
  if (config_.on_divergence == DivergencePolicy::kStop) return DivergedAt(text);
  sink_.OnWarning("UPDATE_SKIPPED", text);
  ++state_.skipped_in_a_row;
  if (!IsHopeless()) return absl::OkStatus();
  return DivergedAt(
      absl::StrCat(text, "; ", state_.skipped_in_a_row, " updates up to there were skipped"));
}

// Has nothing that could be published, and no later step would change that: no row gives a finite
// update any more.
bool TrainerRun::IsHopeless() const {
  if (!state_.best_tensors.empty()) return false;
  return state_.skipped_in_a_row >= plan_.steps_per_epoch || !AllFinite(state_.trained);
}

void TrainerRun::ApplyAdamW(double factor) {
  ++state_.updates;
  const AdamWOptions adamw{config_.beta1, config_.beta2, config_.eps};
  // By method, and whether it decays.
  std::map<std::pair<std::string, bool>, AdamWGroup> groups;
  for (size_t i = 0; i < state_.trained.size(); ++i) {
    const TrainedTensor& trained = adapter_.tensors()[i];
    AdamWGroup& group = groups[{trained.method, trained.decays}];
    group.learning_rate = config_.learning_rates.at(trained.method) * factor;
    group.weight_decay = trained.decays ? config_.weight_decay : 0;
    group.tensors.push_back(state_.trained[i]);
    group.exp_avgs.push_back(state_.exp_avgs[i]);
    group.exp_avg_sqs.push_back(state_.exp_avg_sqs[i]);
  }
  for (auto& [key, group] : groups) AdamWStep(adamw, state_.updates, group);
}

void TrainerRun::ClearGradients() {
  for (at::Tensor& tensor : state_.trained) tensor.mutable_grad().reset();
}

bool TrainerRun::EvaluationIsDue() const {
  if (state_.step >= plan_.total_steps) return true;
  if (config_.eval_every_steps > 0) return state_.step % config_.eval_every_steps == 0;
  return plan_.ends_epoch(state_.step - 1);
}

bool TrainerRun::CheckpointIsDue() const {
  if (options_.checkpoint_directory.empty()) return false;
  if (config_.checkpoint_every_steps > 0) {
    return state_.step % config_.checkpoint_every_steps == 0;
  }
  return EvaluationIsDue();
}

absl::Status TrainerRun::Evaluate() {
  const absl::Duration start = Clock::Real().Boottime();
  absl::StatusOr<EvaluationEvent> evaluated = absl::InternalError("not evaluated");
  {
    c10::NoGradGuard no_grad;
    const Gpt2Network network = adapter_.Bind();
    evaluated = evaluator_->Evaluate(network, state_.step, stop_);
  }
  RETURN_IF_ERROR(evaluated.status());
  EvaluationEvent event = *std::move(evaluated);
  event.step = state_.step;
  event.epoch = plan_.epochs_done(state_.step);
  ASSIGN_OR_RETURN(event.is_best,
                   UpdateEarlyStopping(config_.early_stopping, event, state_.early_stopping));
  event.seconds = absl::ToDoubleSeconds(Clock::Real().Boottime() - start);
  state_.last = event;
  if (event.is_best) {
    state_.best = event;
    c10::NoGradGuard no_grad;
    state_.best_tensors.resize(state_.trained.size());
    for (size_t i = 0; i < state_.trained.size(); ++i) {
      state_.best_tensors[i] = state_.trained[i].clone();
    }
  }
  sink_.OnEvaluation(event);
  state_.evaluation_due = false;
  return CheckpointIsDue() ? WriteEvaluation() : absl::OkStatus();
}

std::string TrainerRun::CheckpointDirectory() const {
  return JoinPath(options_.checkpoint_directory, absl::StrCat(state_.step));
}

absl::Status TrainerRun::WriteCheckpoint() {
  ASSIGN_OR_RETURN(saved_, SaveTrainingState(state_, CheckpointDirectory(), stop_.pulse()));
  RETURN_IF_ERROR(RemoveOldCheckpoints());
  TellCheckpoint(/*again=*/false);
  return absl::OkStatus();
}

// After it, the checkpoint is one that goes on behind the evaluation.
absl::Status TrainerRun::WriteEvaluation() {
  // The run was resumed from a checkpoint that lies elsewhere.
  if (saved_.empty()) return WriteCheckpoint();
  ASSIGN_OR_RETURN(saved_,
                   AddEvaluation(state_, CheckpointDirectory(), std::move(saved_), stop_.pulse()));
  TellCheckpoint(/*again=*/true);
  return absl::OkStatus();
}

void TrainerRun::TellCheckpoint(bool again) {
  CheckpointEvent event;
  event.step = state_.step;
  event.again = again;
  event.directory = CheckpointDirectory();
  event.files = saved_;
  event.execution = state_.execution;
  sink_.OnCheckpoint(event);
}

// The one that this run began from stays, too.
absl::Status TrainerRun::RemoveOldCheckpoints() {
  return graft::RemoveOldCheckpoints(options_.checkpoint_directory, state_.step,
                                     config_.checkpoint_keep_last, options_.resume_from);
}

// Of the tensors as the last update left them, on the first labels of their epoch: no more work
// than a micro-batch, so that stop_ is not asked.
double TrainerRun::LossOfLastTensors() {
  c10::NoGradGuard no_grad;
  const Gpt2Network network = adapter_.Bind();
  const std::span<const int64_t> order = Order(plan_.epoch(state_.step - 1));
  const size_t batch_size = config_.batch_size;
  for (size_t begin = 0; begin < order.size(); begin += batch_size) {
    const Batch batch =
        MakeBatch(train_, order.subspan(begin, std::min(batch_size, order.size() - begin)),
                  network.num_prompt_rows(), network.device());
    if (batch.num_labels() == 0) continue;
    const at::Tensor hidden = HiddenStates(network, batch.ids, batch.positions, nullptr);
    return LabelLoss(network, hidden, batch.targets, 1.0 / static_cast<double>(batch.num_labels()))
        .item<double>();
  }
  return 0;  // Cannot be: every step has labels.
}

// The last tensors count when no evaluation was finite: because there was none, or because they
// never gave one.
absl::Status TrainerRun::CheckLastTensors() {
  if (evaluator_ != nullptr) {
    return DivergedAt(absl::StrCat("step ", state_.step, ": no evaluation gave a finite loss"));
  }
  const double loss = LossOfLastTensors();
  if (std::isfinite(loss)) return absl::OkStatus();
  return DivergedAt(absl::StrCat("step ", state_.step, ": after its update the loss is ", loss));
}

absl::StatusOr<TrainingResult> TrainerRun::Finish() {
  if (state_.best_tensors.empty()) RETURN_IF_ERROR(CheckLastTensors());
  TrainingResult result;
  result.steps = state_.step;
  result.best_step = state_.best.step > 0 ? state_.best.step : state_.step;
  result.stopped_early = state_.early_stopping.stop && state_.step < plan_.total_steps;
  result.best = state_.best;
  result.last = state_.last;
  c10::NoGradGuard no_grad;
  for (size_t i = 0; i < state_.best_tensors.size(); ++i) {
    state_.trained[i].copy_(state_.best_tensors[i]);
  }
  RETURN_IF_ERROR(CheckPublishable(state_.names, state_.trained, result.best_step));
  return result;
}

}  // namespace

absl::StatusOr<TrainingResult> Train(const TrainerOptions& options, const ExampleSource& train,
                                     AdapterSet& adapter, Evaluator* evaluator, EventSink& sink,
                                     StopToken& stop) {
  TrainingResult result;
  RETURN_IF_ERROR(CatchTorchErrors([&]() -> absl::Status {
    ASSIGN_OR_RETURN(result, TrainerRun(options, train, adapter, evaluator, sink, stop).Run());
    return absl::OkStatus();
  }));
  return result;
}

int64_t TotalSteps(const TrainingConfig& config, int64_t num_rows) {
  return num_rows > 0 ? MakeStepPlan(config, num_rows).total_steps : 0;
}

}  // namespace graft
