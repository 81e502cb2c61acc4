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

// How a run is computed. The same run with another one would give other numbers.
struct Execution {
  std::string revision;   // Of the training code.
  std::string device;     // "cpu", "cuda"
  std::string precision;  // "fp32", "bf16", "fp64"
  int threads = 0;        // Of the CPU; 0 in checkpoints of builds that had it in the spec alone.
};

// Everything that a run is at the end of an optimiser step; what is not in here follows from the
// configuration. Random numbers are a function of (seed, step, micro-batch, purpose), so no
// generator is saved, and the data order of (seed, epoch), so a position is enough.
struct TrainingState {
  std::string fingerprint;  // TrainerOptions::fingerprint.
  Execution execution;
  std::string optimizer = "fused_adamw";
  int64_t step = 0;      // Optimiser steps done, skipped updates included.
  int64_t updates = 0;   // Updates that AdamW made.
  int64_t num_rows = 0;  // Of the training set.
  int64_t epoch = 0;     // Pass over the data that the next step belongs to, from 0.
  int64_t position = 0;  // Rows of that pass's order that are used up.
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

// Files of a checkpoint: state.safetensors, state.json, and SHA256SUMS over both (sha256sum -c).
//
// Writes `state` to `directory`, which appears whole or not at all and is read back before this
// returns OK. An older directory of that name is replaced. Codes of common/base/file.h; DATA_LOSS
// when what was read back is not what was written. Returns the size in bytes.
absl::StatusOr<int64_t> SaveTrainingState(const TrainingState& state, const std::string& directory);

// Reads it back, on the CPU. DATA_LOSS naming the file when anything is missing or differs from its
// hash; NOT_FOUND when there is no such directory; FAILED_PRECONDITION, marked FailureClass
// kInfrastructure, when another version of graft wrote it.
absl::StatusOr<TrainingState> LoadTrainingState(const std::string& directory);

// Is every byte of it as it was written? DATA_LOSS naming the file that is missing or differs.
absl::Status CheckTrainingState(const std::string& directory);

// What of it decides how the run goes on, before anything is computed: not checked against its
// hash, which LoadTrainingState does. Codes as there.
absl::StatusOr<Execution> ReadExecution(const std::string& directory);

// Names of the files, for CheckpointEvent.
std::vector<std::string> TrainingStateFiles();

}  // namespace graft
