#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "worker/engine/adapters/adapter_set.h"
#include "worker/engine/data/example_source.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/run_hooks.h"
#include "worker/engine/training/training_state.h"

namespace graft {

// Keeps what an evaluation has done in the checkpoint of its step, so that it goes on from there.
class EvaluationKeeper {
 public:
  // Writes it to a file of this directory that is not there yet (EvaluationFileName).
  using Write = std::function<absl::StatusOr<CheckpointFile>(const std::string& directory)>;

  virtual ~EvaluationKeeper() = default;
  // What an evaluation of this step left, as a path; empty: nothing. It may have been another one
  // (of other settings).
  virtual std::string Left() const = 0;
  // To be called wherever it could go on, and `now` when it is left. Calls `write` when it is time.
  virtual absl::Status Keep(bool now, const Write& write) = 0;
};

// Scores the network on the validation set; worker/engine/evaluation implements it. `values` must
// hold "eval/loss" and the metric of early stopping; step, epoch and is_best are the trainer's.
class Evaluator {
 public:
  virtual ~Evaluator() = default;
  virtual absl::StatusOr<EvaluationEvent> Evaluate(const Gpt2Network& network, int64_t step,
                                                   EvaluationKeeper& keeper, StopToken& stop) = 0;
};

struct TrainerOptions {
  TrainingConfig config;
  // Checkpoints go to checkpoint_directory/{step}/; the directory must exist. Empty: none.
  std::string checkpoint_directory;
  std::string resume_from;  // A checkpoint's directory; empty: from the beginning.
  // What makes a checkpoint one of this run (hashes of spec, base and data; threads), and how it is
  // computed: a checkpoint with another fingerprint or execution is refused.
  std::string fingerprint;
  // The same as an earlier build wrote it: made of more, so that only the run itself has it.
  std::string earlier_fingerprint;
  Execution execution;
  // Told of each halving of the micro-batch (Execution::batch_size), before the warning
  // MICRO_BATCH_HALVED: its rows now, and how many are a step. May be empty.
  std::function<void(int64_t rows, int64_t micro_batches)> on_micro_batch;
  // Fills in what is known of rows that are told of, beside index and line; may be empty.
  std::function<void(std::vector<DivergentRow>&)> describe_rows;
  // Another job's checkpoint that this run goes on from, by its name; empty: none. There the
  // patience of early stopping begins anew.
  std::string continues;
  // After this step and its evaluation the run is left as for a pause, unless it is done. 0: never.
  int64_t pause_at_step = 0;
  // Leaves a checkpoint of its last step: what comes after it can be paused, and goes on there.
  bool saves_at_end = false;
  // Goes on from a checkpoint of another execution, too, with a warning.
  bool allow_migration = false;
  // Tries the longest rows before the first step wherever memory ends, not only where it may be
  // short.
  bool tries_longest_rows = false;
};

struct TrainingResult {
  int64_t steps = 0;      // Optimiser updates done.
  int64_t best_step = 0;  // Whose tensors the adapter now holds; the last one without evaluation.
  bool stopped_early = false;
  EvaluationEvent best;  // Of best_step; empty without evaluation.
  EvaluationEvent last;
};

// Trains `adapter` on `train` and leaves the best evaluation's tensors in it. training.md says what
// a step is. All arguments outlive the call; `evaluator` may be nullptr (no validation set).
//   CANCELLED            stop said so; the newest checkpoint lies on disk. One that IsPaused has
//                        ended its step first, and has a checkpoint of it.
//   INVALID_ARGUMENT     empty data, a row longer than the model, no label in a whole step
//   DATA_LOSS            resume_from is corrupt or incomplete (file and tensor named)
//   FAILED_PRECONDITION  resume_from belongs to another run; or, marked FailureClass
//                        kInfrastructure, was made with another execution
//   OUT_OF_RANGE         diverged: loss or gradient is not finite and on_divergence is stop; or
//                        the run has gone back too often; or, with any policy, there is nothing
//                        finite to publish
//   RESOURCE_EXHAUSTED   marked kOutOfMemory: not even one row at a time fits; says what would
//   codes of file.h      a checkpoint could not be written
//
// Where memory may be short the longest rows are tried before the first step. Where it ends, there
// or later, the micro-batch is halved and the step done again: the same rows, the same mean.
absl::StatusOr<TrainingResult> Train(const TrainerOptions& options, const ExampleSource& train,
                                     AdapterSet& adapter, Evaluator* evaluator, EventSink& sink,
                                     StopToken& stop, Clock& clock = Clock::Real());

// One of several trainings.
struct TrialParts {
  const TrainerOptions& options;
  const ExampleSource& train;
  AdapterSet& adapter;
  Evaluator* evaluator = nullptr;
  EventSink& sink;
  StopToken& stop;
  Clock& clock = Clock::Real();
};

// Trains several adapters of one base (the same Gpt2Model) at once: what is the base's own runs
// once for the rows of all of them, and each has the numbers that Train alone would give it, up to
// rounding. Other ranks, methods, rates, seeds, data and batch sizes may be mixed; whoever is done
// leaves. While one evaluates, the others wait. The results are in the order of `trials`: what ends
// one ends no other. Each tries its longest rows alone; where memory does not hold a pass for
// several, passes are for half as many from there on, and each trial's own micro-batch stays.
std::vector<absl::StatusOr<TrainingResult>> TrainTogether(std::span<const TrialParts> trials);

// Optimiser steps of a run: what TrainingConfig and the number of rows give.
int64_t TotalSteps(const TrainingConfig& config, int64_t num_rows);

}  // namespace graft
