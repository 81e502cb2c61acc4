#include "worker/engine/training/trial.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/methods/method.h"
#include "worker/engine/failure.h"
#include "worker/engine/training/adamw.h"
#include "worker/engine/training/checkpoints.h"
#include "worker/engine/training/divergence.h"
#include "worker/engine/training/resumption.h"

namespace graft {
namespace {

// Rows that an error names at the most.
constexpr size_t kMaxRowsInError = 16;

}  // namespace

Trial::Trial(const TrialParts& parts)
    : options_(parts.options),
      config_(parts.options.config),
      train_(parts.train),
      adapter_(parts.adapter),
      evaluator_(parts.evaluator),
      sink_(parts.sink),
      stop_(parts.stop),
      clock_(parts.clock),
      saved_at_(clock_.Boottime()) {}

absl::Status Trial::Start() {
  if (train_.size() == 0) return absl::InvalidArgumentError("the training set has no rows");
  for (const TrainedTensor& trained : adapter_.tensors()) {
    if (config_.learning_rates.contains(trained.method)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("training.learning_rates: has none for ", trained.method));
  }
  RETURN_IF_ERROR(CheckRows());
  plan_ = MakeStepPlan(config_, train_.size());
  StartState();
  if (!options_.resume_from.empty()) {
    RETURN_IF_ERROR(Resume());
  } else if (config_.on_divergence == DivergencePolicy::kRollBack) {
    c10::NoGradGuard no_grad;
    for (const at::Tensor& tensor : state_.trained) beginning_.push_back(tensor.clone());
  }
  if (!options_.checkpoint_directory.empty()) RETURN_IF_ERROR(RemoveOldCheckpoints());
  RETURN_IF_ERROR(TryLongestRows());
  // What a run was stopped in is an evaluation, perhaps.
  if (state_.evaluation_due) RETURN_IF_ERROR(Evaluate());
  return PassEmptySteps();
}

absl::Status Trial::CheckRows() const {
  const int64_t virtual_tokens = NumVirtualTokens(adapter_.method());
  const int64_t limit = adapter_.n_positions() - virtual_tokens;
  for (int64_t row = 0; row < train_.size(); ++row) {
    stop_.pulse().Beat();
    const int64_t length = static_cast<int64_t>(train_.Get(row).ids.size());
    if (length > limit) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the row at line ", train_.Line(row), " of the training set has ", length, " tokens; ",
          limit, " fit the model beside ", virtual_tokens, " virtual ones"));
    }
  }
  return absl::OkStatus();
}

// Of rows, for errors, in the file that they came from.
std::string Trial::Places(std::span<const int64_t> rows) const {
  std::vector<int64_t> lines;
  for (const int64_t row : rows.first(std::min(rows.size(), kMaxRowsInError))) {
    lines.push_back(train_.Line(row));
  }
  return absl::StrCat(rows.size() == 1 ? "the row at line " : "the rows at lines ",
                      absl::StrJoin(lines, ", "), rows.size() > kMaxRowsInError ? ", ..." : "",
                      " of the training set");
}

void Trial::StartState() {
  state_.fingerprint = options_.fingerprint;
  state_.continues = options_.continues;
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

absl::Status Trial::Resume() {
  ASSIGN_OR_RETURN(const std::string changed, Load(options_.resume_from));
  if (changed.empty()) return absl::OkStatus();
  sink_.OnWarning("NOT_BIT_EXACT",
                  absl::StrCat("goes on from step ", state_.step, " with ", changed,
                               ": the last bits may differ from those of a run without it"));
  return absl::OkStatus();
}

absl::StatusOr<std::string> Trial::Load(const std::string& checkpoint) {
  ASSIGN_OR_RETURN(TrainingState loaded, LoadTrainingState(checkpoint, stop_.pulse()));
  if (loaded.has_whole_fingerprint && loaded.fingerprint == options_.earlier_fingerprint) {
    loaded.fingerprint = options_.fingerprint;
  }
  if (loaded.continues != options_.continues) RETURN_IF_ERROR(BeginFrom(loaded));
  absl::StatusOr<std::string> changed =
      CheckContinues(loaded, state_, plan_, options_.allow_migration);
  if (!changed.ok()) return Annotate(changed.status(), absl::StrCat("checkpoint ", checkpoint));
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
  loaded.fingerprint = state_.fingerprint;
  loaded.continues = state_.continues;
  const int64_t micro_batch_rows = loaded.execution.batch_size;
  loaded.execution = state_.execution;
  loaded.execution.batch_size = micro_batch_rows;
  state_ = std::move(loaded);
  newest_ = checkpoint;
  saved_step_ = state_.step;
  saved_.clear();
  kept_.reset();
  if (state_.evaluation_due && checkpoint == CheckpointDirectory()) {
    ASSIGN_OR_RETURN(saved_, CheckTrainingState(checkpoint, stop_.pulse()));
  }
  // Follows from the step: an earlier version counted rows where micro-batches are counted now.
  for (EvaluationEvent* event : {&state_.best, &state_.last}) {
    event->epoch = plan_.epochs_done(event->step);
  }
  return changed;
}

// The state is another job's.
absl::Status Trial::BeginFrom(TrainingState& other) const {
  if (other.has_whole_fingerprint) {
    return WithFailureClass(absl::FailedPreconditionError(absl::StrCat(
                                "init_from: an earlier build saved ", options_.continues,
                                "; only its own job goes on from that (RetryJob)")),
                            FailureClass::kConfig);
  }
  if (plan_.total_steps <= other.step) {
    return absl::InvalidArgumentError(absl::StrCat("init_from: the checkpoint is at step ",
                                                   other.step, " already, and the whole run has ",
                                                   plan_.total_steps));
  }
  other.early_stopping.without_improvement = 0;
  other.early_stopping.stop = false;
  other.times_gone_back = 0;
  return absl::OkStatus();
}

// Per epoch a torch.randperm seeded with seed + epoch, as the reference (accelerate's seedable
// sampler) has it.
std::vector<int64_t> ShuffledRows(int64_t num_rows, uint64_t seed, int64_t epoch) {
  const at::Tensor permutation =
      at::randperm(num_rows, at::detail::createCPUGenerator(seed + epoch), at::kLong);
  const int64_t* const values = permutation.const_data_ptr<int64_t>();
  return {values, values + num_rows};
}

const std::vector<int64_t>& Trial::Order(int64_t epoch) {
  if (epoch != order_epoch_) {
    order_ = ShuffledRows(train_.size(), config_.seed, epoch);
    order_epoch_ = epoch;
  }
  return order_;
}

std::span<const int64_t> Trial::RowsOfStep() {
  return std::span(Order(plan_.epoch(state_.step)))
      .subspan(plan_.begin(state_.step), plan_.end(state_.step) - plan_.begin(state_.step));
}

absl::Status Trial::BeginStep() {
  step_.emplace();
  step_->start = clock_.Boottime();
  step_->rows = RowsOfStep();
  step_->network = adapter_.Bind();
  step_->labels =
      CountLabels(train_, WithoutLeftOut(step_->rows), step_->network.num_prompt_rows());
  if (step_->labels == 0) {
    return absl::InvalidArgumentError(absl::StrCat("step ", state_.step + 1, " has no label: in ",
                                                   Places(step_->rows),
                                                   " no target's token follows another token"));
  }
  ClearGradients();
  return absl::OkStatus();
}

// A run that is paused is left where it can go on.
absl::Status Trial::Leave(const absl::Status& why) {
  if (IsPaused(why)) RETURN_IF_ERROR(SaveUnlessSaved());
  return why;
}

absl::StatusOr<MicroBatch> Trial::Next() {
  // First of all: whoever is asked may change what trains. A step that has begun is done before a
  // pause.
  const absl::Status asked = stop_.Poll();
  if (!asked.ok() && !(IsPaused(asked) && step_)) return Leave(asked);
  if (!step_) {
    if (options_.pause_at_step > 0 && state_.step >= options_.pause_at_step) {
      return Leave(PausedStatus());
    }
    if (CheckpointIsWanted()) RETURN_IF_ERROR(SaveUnlessSaved());
    RETURN_IF_ERROR(BeginStep());
  }
  const auto batch_size = static_cast<size_t>(MicroBatchRows());
  MicroBatch next;
  do {  // There is one with labels: a step ends with its last ones.
    const std::span<const int64_t> rows =
        step_->rows.subspan(step_->begin, std::min(batch_size, step_->rows.size() - step_->begin));
    next.batch = MakeBatch(train_, WithoutLeftOut(rows), step_->network.num_prompt_rows(),
                           step_->network.device());
    next.dropout = MakeDropoutPlan(static_cast<int64_t>(step_->begin / batch_size));
    step_->begin += rows.size();
  } while (next.batch.num_labels() == 0);
  step_->labels_taken += next.batch.num_labels();
  next.network = &step_->network;
  next.scale = 1.0 / static_cast<double>(step_->labels);
  return next;
}

absl::Status Trial::Take(const at::Tensor& loss) {
  c10::NoGradGuard no_grad;
  step_->loss = step_->loss.defined() ? step_->loss + loss : loss.clone();
  if (step_->labels_taken < step_->labels) return absl::OkStatus();
  RETURN_IF_ERROR(EndStep());
  return PassEmptySteps();
}

absl::Status Trial::EndStep() {
  const at::Tensor norm = GradientNorm(state_.trained);
  if (config_.max_grad_norm > 0) ClipGradients(state_.trained, norm, config_.max_grad_norm);
  // One wait for the device.
  const at::Tensor both =
      at::stack({step_->loss.to(at::kDouble), norm.to(at::kDouble)}).to(at::kCPU);
  StepNumbers numbers;
  numbers.loss = both[0].item<double>();
  numbers.grad_norm = both[1].item<double>();
  const StepUnderWay step = *std::exchange(step_, std::nullopt);
  if (!numbers.finite()) {
    ClearGradients();
    return Diverged(numbers, step.rows);
  }
  ApplyAdamW(ScheduleFactor(config_.schedule, state_.step, plan_));
  ClearGradients();
  state_.skipped_in_a_row = 0;
  sink_.OnStep(Describe(step, numbers));
  return Advance();
}

StepEvent Trial::Describe(const StepUnderWay& step, const StepNumbers& numbers) const {
  StepEvent event;
  event.step = state_.step + 1;
  event.epoch = plan_.epochs_done(event.step);
  event.total_steps = plan_.total_steps;
  event.loss = numbers.loss;
  event.grad_norm = numbers.grad_norm;
  event.learning_rate = config_.learning_rates.at(adapter_.tensors()[0].method) *
                        ScheduleFactor(config_.schedule, state_.step, plan_);
  int64_t tokens = 0;
  for (const int64_t row : WithoutLeftOut(step.rows)) {
    tokens += static_cast<int64_t>(train_.Get(row).ids.size());
  }
  event.tokens_per_second =
      static_cast<double>(tokens) / absl::ToDoubleSeconds(clock_.Boottime() - step.start);
  return event;
}

absl::Status Trial::Advance() {
  ++state_.step;
  state_.epoch = plan_.epoch(state_.step);
  state_.position = plan_.begin(state_.step);
  state_.evaluation_due = evaluator_ != nullptr && EvaluationIsDue();
  // Before the evaluation: it may take longer than this process lives.
  if (CheckpointIsDue()) RETURN_IF_ERROR(WriteCheckpoint());
  if (state_.evaluation_due) RETURN_IF_ERROR(Evaluate());
  return absl::OkStatus();
}

DropoutPlan Trial::MakeDropoutPlan(int64_t micro_batch) const {
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

void Trial::ApplyAdamW(double factor) {
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

void Trial::ClearGradients() {
  for (at::Tensor& tensor : state_.trained) tensor.mutable_grad().reset();
}

bool Trial::EvaluationIsDue() const {
  return plan_.evaluates_after(state_.step, config_.eval_every_steps);
}

bool Trial::CheckpointIsDue() const {
  if (options_.checkpoint_directory.empty()) return false;
  if (config_.checkpoint_every_steps > 0) {
    return state_.step % config_.checkpoint_every_steps == 0;
  }
  return EvaluationIsDue();
}

bool Trial::CheckpointIsWanted() {
  const int64_t requested = stop_.RequestedCheckpoint();
  if (requested > saved_step_ && state_.step >= requested) return true;
  if (config_.checkpoint_every_seconds <= 0) return false;
  const absl::Duration wanted = absl::Seconds(config_.checkpoint_every_seconds);
  return clock_.Boottime() >= saved_at_ + IntervalOfSaves(wanted, save_time_);
}

absl::Status Trial::Evaluate() {
  const absl::Duration start = clock_.Boottime();
  kept_at_ = start;
  absl::StatusOr<EvaluationEvent> evaluated = absl::InternalError("not evaluated");
  {
    c10::NoGradGuard no_grad;
    const Gpt2Network network = adapter_.Bind();
    evaluated = evaluator_->Evaluate(network, state_.step, *this, stop_);
  }
  if (!evaluated.ok()) return Leave(evaluated.status());
  EvaluationEvent event = *std::move(evaluated);
  event.step = state_.step;
  event.epoch = plan_.epochs_done(state_.step);
  ASSIGN_OR_RETURN(event.is_best,
                   UpdateEarlyStopping(config_.early_stopping, event, state_.early_stopping));
  event.seconds = absl::ToDoubleSeconds(clock_.Boottime() - start);
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
  return IsSaved() ? WriteEvaluation() : absl::OkStatus();
}

std::string Trial::Left() const { return IsSaved() ? FindEvaluationFile(newest_) : ""; }

absl::Status Trial::Keep(bool now, const Write& write) {
  if (options_.checkpoint_directory.empty()) return absl::OkStatus();
  const absl::Duration begin = clock_.Boottime();
  const absl::Duration interval = IntervalOfSaves(kEvaluationSaveInterval, keep_time_);
  if (!now && begin < kept_at_ + interval) return absl::OkStatus();
  if (!now && !IsSaved() && !CheckpointIsWanted()) return absl::OkStatus();
  // Where the run was resumed from a checkpoint that lies elsewhere, it has none of its own yet.
  if (!IsSaved() || saved_.empty()) RETURN_IF_ERROR(WriteCheckpoint());
  const std::string earlier = FindEvaluationFile(CheckpointDirectory());
  ASSIGN_OR_RETURN(kept_, write(CheckpointDirectory()));
  if (!earlier.empty() && BaseName(earlier) != kept_->path) RETURN_IF_ERROR(RemoveFile(earlier));
  kept_at_ = clock_.Boottime();
  keep_time_ = kept_at_ - begin;
  TellCheckpoint(/*again=*/true);
  return absl::OkStatus();
}

std::string Trial::CheckpointDirectory() const {
  return JoinPath(options_.checkpoint_directory, absl::StrCat(state_.step));
}

bool Trial::IsSaved() const {
  return !options_.checkpoint_directory.empty() && saved_step_ == state_.step;
}

absl::Status Trial::SaveUnlessSaved() {
  const bool can = !options_.checkpoint_directory.empty() && state_.step > 0;
  return can && !IsSaved() ? WriteCheckpoint() : absl::OkStatus();
}

absl::Status Trial::WriteCheckpoint() {
  const absl::Duration begin = clock_.Boottime();
  ASSIGN_OR_RETURN(saved_, SaveTrainingState(state_, CheckpointDirectory(), stop_.pulse()));
  newest_ = CheckpointDirectory();
  saved_step_ = state_.step;
  kept_.reset();
  beginning_.clear();
  saved_at_ = clock_.Boottime();
  save_time_ = saved_at_ - begin;
  RETURN_IF_ERROR(RemoveOldCheckpoints());
  TellCheckpoint(/*again=*/false);
  return absl::OkStatus();
}

// After it, the checkpoint is one that goes on behind the evaluation.
absl::Status Trial::WriteEvaluation() {
  // The run was resumed from a checkpoint that lies elsewhere.
  if (saved_.empty()) return WriteCheckpoint();
  ASSIGN_OR_RETURN(saved_,
                   AddEvaluation(state_, CheckpointDirectory(), std::move(saved_), stop_.pulse()));
  saved_at_ = clock_.Boottime();
  kept_.reset();
  const std::string kept = FindEvaluationFile(CheckpointDirectory());
  if (!kept.empty()) RETURN_IF_ERROR(RemoveFile(kept));
  TellCheckpoint(/*again=*/true);
  return absl::OkStatus();
}

void Trial::TellCheckpoint(bool again) {
  CheckpointEvent event;
  event.step = state_.step;
  event.again = again;
  event.directory = CheckpointDirectory();
  event.files = saved_;
  if (kept_) event.files.push_back(*kept_);
  event.execution = state_.execution;
  sink_.OnCheckpoint(event);
}

// The one that this run began from stays, too.
absl::Status Trial::RemoveOldCheckpoints() {
  return graft::RemoveOldCheckpoints(options_.checkpoint_directory, state_.step,
                                     config_.checkpoint_keep_last, options_.resume_from);
}

absl::StatusOr<TrainingResult> Trial::Finish() {
  if (state_.best_tensors.empty()) RETURN_IF_ERROR(CheckLastTensors());
  if (options_.saves_at_end) RETURN_IF_ERROR(SaveUnlessSaved());
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

}  // namespace graft
