#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/run_hooks.h"
#include "worker/engine/training/early_stopping.h"

namespace graft {

// Everything that a run is at the end of an optimiser step; what is not in here follows from the
// configuration. Random numbers are a function of (seed, step, micro-batch, purpose), so no
// generator is saved, and the data order of (seed, epoch), so a position is enough.
struct TrainingState {
  std::string fingerprint;             // TrainerOptions::fingerprint, unless has_whole_fingerprint.
  bool has_whole_fingerprint = false;  // It is TrainerOptions::earlier_fingerprint. Only read.
  std::string continues;               // TrainerOptions::continues of the run that saved it.
  Execution execution;
  std::string optimizer = "fused_adamw";
  int64_t step = 0;              // Optimiser steps done, skipped updates included.
  int64_t updates = 0;           // Updates that AdamW made.
  int64_t num_rows = 0;          // Of the training set.
  int64_t epoch = 0;             // Pass over the data that the next step belongs to, from 0.
  int64_t position = 0;          // Rows of that pass's order that are used up.
  int64_t skipped_in_a_row = 0;  // Updates, up to this step, that divergence suppressed.
  // Rows of the training set that no step has any more, ascending, and how often the run went back
  // to leave some out (DivergencePolicy::kRollBack).
  std::vector<int64_t> left_out;
  int64_t times_gone_back = 0;
  bool evaluation_due = false;  // At this step; best, last and early stopping are as before it.
  EarlyStoppingState early_stopping;
  EvaluationEvent best;  // step 0: none yet.
  EvaluationEvent last;

  // One entry per trained tensor, in AdapterSet's order.
  std::vector<std::string> names;
  std::vector<at::Tensor> trained;
  std::vector<at::Tensor> exp_avgs;
  std::vector<at::Tensor> exp_avg_sqs;
  std::vector<at::Tensor> best_tensors;  // Empty: no evaluation yet.
};

// A checkpoint is state.safetensors, state.json, and SHA256SUMS over both (sha256sum -c). One that
// was written before an evaluation has, when that is over, evaluated.json beside them, which takes
// the place of what state.json says of evaluations, and SHA256SUMS.evaluated over it and
// SHA256SUMS. So files never change under whoever uploads them, and the tensors, by far the most of
// it, are written once: the best ones are those of this step, or those from before.
//
// All functions beat `pulse` with the bytes that they write or check.

// Writes `state` to `directory`, which appears whole or not at all and is read back before this
// returns OK. An older directory of that name is replaced. Codes of common/base/file.h; DATA_LOSS
// when what was read back is not what was written. Returns the files.
absl::StatusOr<std::vector<CheckpointFile>> SaveTrainingState(const TrainingState& state,
                                                              const std::string& directory,
                                                              Pulse& pulse);

// Adds the evaluation that `state` now has to the directory that SaveTrainingState wrote `saved` to
// when it was due. Whole or not at all; codes as there. Returns all files.
absl::StatusOr<std::vector<CheckpointFile>> AddEvaluation(const TrainingState& state,
                                                          const std::string& directory,
                                                          std::vector<CheckpointFile> saved,
                                                          Pulse& pulse);

// Reads it back, on the CPU. DATA_LOSS naming the file when anything is missing or differs from its
// hash; NOT_FOUND when there is no such directory; FAILED_PRECONDITION, marked FailureClass
// kInfrastructure, when another version of graft wrote it.
absl::StatusOr<TrainingState> LoadTrainingState(const std::string& directory, Pulse& pulse);

// The files, if every byte of them is as it was written. DATA_LOSS naming the file that is missing
// or differs.
absl::StatusOr<std::vector<CheckpointFile>> CheckTrainingState(const std::string& directory,
                                                               Pulse& pulse);

// What of it decides how the run goes on, before anything is computed: not checked against its
// hash, which LoadTrainingState does. Codes as there.
absl::StatusOr<Execution> ReadExecution(const std::string& directory);

}  // namespace graft
