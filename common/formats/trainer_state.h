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
  // Of the log's last row.
  int64_t global_step = 0;
  double epoch = 0;
};

// The file's bytes, with the fields and the style of transformers 5 (TrainerState.save_to_json:
// sorted keys, newline at the end). Names become the Trainer's: train/loss → loss, train/grad_norm
// → grad_norm, eval/rougeL → eval_rougeL; other train/x → train_x. A row with both kinds gives two
// entries of log_history, training first. Rows are in the order of their steps; global_step and
// epoch of `info` are taken from the last one.
std::string TrainerStateJson(const std::vector<MetricRow>& rows, TrainerStateInfo info);

// The same file in parts, for logs that are not held in memory: appends to `out`, which must
// outlive it and may be emptied between two calls.
class TrainerStateWriter {
 public:
  TrainerStateWriter(const TrainerStateInfo& info, std::string& out);
  void Add(const MetricRow& row);
  void Finish();

 private:
  std::string& out_;
  std::string tail_;  // what follows the entries of log_history
  bool empty_ = true;
};

}  // namespace graft
