#pragma once

#include <ATen/core/Tensor.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "worker/engine/gpt2/dropout.h"
#include "worker/engine/training/batch.h"
#include "worker/engine/training/schedule.h"
#include "worker/engine/training/trainer.h"
#include "worker/engine/training/training_state.h"

namespace graft {

// The order in which a pass over the data goes through its rows.
std::vector<int64_t> ShuffledRows(int64_t num_rows, uint64_t seed, int64_t epoch);

// What a trial wants of the next pass through the base: LabelLosses with this scale, and the
// gradients of its own tensors.
struct MicroBatch {
  const Gpt2Network* network = nullptr;  // The trial's, until Take.
  Batch batch;                           // With labels.
  DropoutPlan dropout;
  double scale = 0;
};

// One run: its plan, its state, whom it tells, who stops it. Whoever drives it computes the passes:
//
//   Start, then until Done: Next, the pass and its backward, Take; then Finish
//
// Codes of all of them: those of Train. After one that is not OK the trial is over.
class Trial : private EvaluationKeeper {
 public:
  // Of `parts` all outlive it.
  explicit Trial(const TrialParts& parts);

  // Checks what is given; resumes; makes up for the evaluation in which a run was stopped.
  absl::Status Start();
  bool Done() const { return state_.step >= plan_.total_steps || state_.early_stopping.stop; }
  // Asks `stop` first.
  absl::StatusOr<MicroBatch> Next();
  // `loss` is the scalar of the batch that Next gave; its gradients are there. With a step's last
  // one comes the update and what is due after it: checkpoint, evaluation.
  absl::Status Take(const at::Tensor& loss);
  // Instead of Take: the pass was not made, and the step begins again.
  void StartStepAgain();
  // Instead of Take: memory did not hold the batch that Next gave though it was alone. The step
  // begins again with half as many rows in each; RESOURCE_EXHAUSTED when that was one.
  absl::Status HalveMicroBatch(const absl::Status& out_of_memory);
  // The best evaluation's tensors are in the adapter.
  absl::StatusOr<TrainingResult> Finish();

 private:
  struct StepNumbers {
    double loss = 0;
    double grad_norm = 0;
    bool finite() const { return std::isfinite(loss) && std::isfinite(grad_norm); }
  };
  struct StepUnderWay {
    absl::Duration start;
    std::span<const int64_t> rows;  // Those that are left out, too.
    size_t begin = 0;               // The first of them that no micro-batch has had.
    Gpt2Network network;
    int64_t labels = 0;        // In all rows that are not left out.
    int64_t labels_taken = 0;  // In those that micro-batches have had.
    at::Tensor loss;           // Of them; undefined: none yet.
  };

  absl::Status CheckRows() const;
  std::string Places(std::span<const int64_t> rows) const;
  void StartState();
  absl::Status Resume();
  // Takes the state of a checkpoint over. Returns what differs in how it was computed.
  absl::StatusOr<std::string> Load(const std::string& checkpoint);
  absl::Status BeginFrom(TrainingState& other) const;
  const std::vector<int64_t>& Order(int64_t epoch);
  std::span<const int64_t> RowsOfStep();
  absl::Status BeginStep();
  absl::Status EndStep();
  StepEvent Describe(const StepUnderWay& step, const StepNumbers& numbers) const;
  // To the next step, with what is due between them: checkpoint, evaluation.
  absl::Status Advance();
  DropoutPlan MakeDropoutPlan(int64_t micro_batch) const;
  void ApplyAdamW(double factor);
  void ClearGradients();
  bool EvaluationIsDue() const;
  bool CheckpointIsDue() const;
  // Between two steps: somebody asked for one, or the newest is old.
  bool CheckpointIsWanted();
  absl::Status Evaluate();
  std::string CheckpointDirectory() const;
  std::string Left() const override;
  absl::Status Keep(bool now, const Write& write) override;
  absl::Status Leave(const absl::Status& why);
  bool IsSaved() const;
  absl::Status SaveUnlessSaved();
  absl::Status WriteCheckpoint();
  absl::Status WriteEvaluation();
  void TellCheckpoint(bool again);
  absl::Status RemoveOldCheckpoints();

  // trial_memory.cc
  int64_t MicroBatchRows() const;
  std::vector<int64_t> LongestRows(int64_t count) const;
  bool MemoryMayBeShort(int64_t rows) const;
  absl::Status TryLongestRows();
  absl::Status DryPass(const ExampleSource& source, std::span<const int64_t> rows);
  absl::Status Halve(const absl::Status& out_of_memory, int64_t row);
  void TellMicroBatch(const absl::Status& out_of_memory);
  absl::Status TooLarge(const absl::Status& out_of_memory, int64_t row);

  // trial_divergence.cc
  bool IsLeftOut(int64_t row) const;
  std::vector<int64_t> WithoutLeftOut(std::span<const int64_t> rows) const;
  absl::Status PassEmptySteps();
  StepNumbers Replay(int64_t row, const DropoutPlan& dropout);
  absl::StatusOr<std::vector<DivergentRow>> FindDivergentRows(std::span<const int64_t> rows);
  absl::Status Diverged(const StepNumbers& numbers, std::span<const int64_t> rows);
  absl::Status SkipUpdate(absl::string_view text);
  bool IsHopeless() const;
  absl::Status CheckCanGoBack(const std::vector<int64_t>& left_out, absl::string_view text) const;
  absl::Status GoBack(std::vector<int64_t> left_out);
  absl::StatusOr<double> LossOfLastTensors();
  absl::Status CheckLastTensors();

  const TrainerOptions& options_;
  const TrainingConfig& config_;
  const ExampleSource& train_;
  AdapterSet& adapter_;
  Evaluator* const evaluator_;
  EventSink& sink_;
  StopToken& stop_;
  Clock& clock_;

  StepPlan plan_;
  TrainingState state_;
  std::vector<int64_t> order_;
  int64_t order_epoch_ = -1;
  std::optional<StepUnderWay> step_;
  std::string newest_;        // Checkpoint, by its directory; empty: none yet.
  int64_t saved_step_ = 0;    // Its step.
  absl::Duration saved_at_;   // When it was there, else when the run began.
  absl::Duration save_time_;  // What it took.
  // Its files, if the evaluation of its step may be added to them; empty: they lie elsewhere.
  std::vector<CheckpointFile> saved_;
  // Beside them: what the evaluation of its step has done so far.
  std::optional<CheckpointFile> kept_;
  absl::Duration kept_at_;    // When that was there, else when the evaluation began.
  absl::Duration keep_time_;  // What it took.
  // What the tensors were at the beginning, for a run that may go back there.
  std::vector<at::Tensor> beginning_;
};

}  // namespace graft
