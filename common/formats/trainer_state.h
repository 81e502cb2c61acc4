#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/formats/metric_row.h"

namespace graft {

// What trainer_state.json of transformers' Trainer says beside its log.
struct TrainerStateInfo {
  int64_t max_steps = 0;
  int64_t num_train_epochs = 0;
  int64_t train_batch_size = 0;
  int64_t eval_steps = 0;  // 0: at each epoch's end; written as the reference's default, 500
  // The value of the metric that chose the published adapter, and its step.
  std::optional<double> best_metric;
  std::optional<int64_t> best_global_step;
};

// The file's bytes, with the fields and the style of transformers 5 (TrainerState.save_to_json:
// sorted keys, newline at the end). Names become the Trainer's: train/loss → loss, train/grad_norm
// → grad_norm, eval/rougeL → eval_rougeL; other train/x → train_x. A row with both kinds gives two
// entries of log_history, training first. Rows are in the order of their steps.
std::string TrainerStateJson(const std::vector<MetricRow>& rows, const TrainerStateInfo& info);

}  // namespace graft
