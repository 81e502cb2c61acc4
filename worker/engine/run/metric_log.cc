#include "worker/engine/run/metric_log.h"

#include <fcntl.h>

#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/metrics_jsonl.h"
#include "common/formats/tensorboard.h"
#include "common/formats/trainer_state.h"
#include "worker/engine/run/result_files.h"

namespace graft {

std::optional<v1::JobEvent> BestEvaluationIn(const std::string& path) {
  std::optional<v1::JobEvent> best;
  std::ifstream kept(path);
  for (std::string line; std::getline(kept, line);) {
    v1::JobEvent event;
    if (!FromJson(line, &event).ok()) break;
    if (event.has_evaluation() && event.evaluation().is_best()) best = std::move(event);
  }
  return best;
}

absl::Status MetricLog::KeepIn(const std::string& path, int64_t last_step) {
  path_ = path;
  std::string kept;
  std::ifstream old(path);
  for (std::string line; std::getline(old, line);) {
    v1::JobEvent event;
    if (!FromJson(line, &event).ok()) break;  // Cut off when the run was ended.
    const int64_t step = event.has_metrics() ? event.metrics().step() : event.evaluation().step();
    if (step > last_step) break;
    AddRow(event);
    absl::StrAppend(&kept, line, "\n");
  }
  RETURN_IF_ERROR(CreateDirectories(DirectoryOf(path)));
  RETURN_IF_ERROR(WriteFileAtomically(path, kept));
  ASSIGN_OR_RETURN(file_, OpenFile(path, O_WRONLY | O_APPEND));
  return absl::OkStatus();
}

absl::Status MetricLog::Add(const v1::JobEvent& event) {
  // A run that was ended in an evaluation, or before it was saved, does it again when it resumes.
  if (event.has_evaluation() && event.evaluation().step() <= last_evaluation_) {
    return absl::OkStatus();
  }
  AddRow(event);
  if (!file_.valid()) return absl::OkStatus();
  const absl::Status appended = Append(event);
  if (!appended.ok()) file_.Reset();  // What follows would leave a gap.
  return appended;
}

// A checkpoint must not outlive its rows.
absl::Status MetricLog::Append(const v1::JobEvent& event) {
  if (event.has_metrics() || event.has_evaluation()) {
    RETURN_IF_ERROR(WriteAll(file_.get(), ToJson(event, false) + "\n", path_));
  }
  if (event.has_evaluation() || event.has_checkpoint()) return SyncFile(file_.get(), path_);
  return absl::OkStatus();
}

void MetricLog::AddRow(const v1::JobEvent& event) {
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
    last_evaluation_ = result.step();
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
