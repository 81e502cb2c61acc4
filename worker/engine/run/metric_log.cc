#include "worker/engine/run/metric_log.h"

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/metrics_jsonl.h"
#include "common/formats/tensorboard.h"
#include "common/formats/trainer_state.h"

namespace graft {

void MetricLog::Add(const v1::JobEvent& event) {
  const double time = static_cast<double>(event.create_time().seconds()) +
                      1e-9 * static_cast<double>(event.create_time().nanos());
  if (event.has_metrics()) {
    const v1::Metrics& metrics = event.metrics();
    total_steps_ = metrics.total_steps();
    rows_.push_back({metrics.step(),
                     metrics.epoch(),
                     time,
                     {metrics.values().begin(), metrics.values().end()}});
  }
  if (event.has_evaluation()) {
    const v1::EvaluationResult& result = event.evaluation();
    rows_.push_back(
        {result.step(), result.epoch(), time, {result.values().begin(), result.values().end()}});
    if (result.is_best()) {
      best_step_ = result.step();
      best_values_ = rows_.back().values;
    }
  }
}

absl::Status MetricLog::Write(const std::string& directory, const v1::FineTuneSpec& spec) const {
  TrainerStateInfo info;
  info.max_steps = total_steps_;
  info.num_train_epochs = spec.training().epochs();
  info.train_batch_size = spec.training().batch_size();
  info.eval_steps = spec.training().eval_every_steps();
  const auto best = best_values_.find(spec.training().early_stopping().metric());
  if (best != best_values_.end()) {
    info.best_metric = best->second;
    info.best_global_step = best_step_;
  }
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(directory, "metrics.jsonl"), MetricsJsonl(rows_)));
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(directory, "trainer_state.json"),
                                      TrainerStateJson(rows_, info)));
  return WriteFileAtomically(JoinPath(directory, TensorBoardFileName(rows_)),
                             TensorBoardEvents(rows_));
}

}  // namespace graft
