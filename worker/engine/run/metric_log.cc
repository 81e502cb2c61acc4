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
  RETURN_IF_ERROR(CreateDirectories(DirectoryOf(path)));
  ASSIGN_OR_RETURN(const std::vector<v1::JobEvent> kept, CutFile(last_step));
  for (const v1::JobEvent& event : kept) AddRow(event);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::JobEvent>> MetricLog::CutFile(int64_t last_step) {
  std::vector<v1::JobEvent> kept;
  std::string lines;
  std::ifstream old(path_);
  for (std::string line; std::getline(old, line);) {
    v1::JobEvent event;
    if (!FromJson(line, &event).ok()) break;  // Cut off when the run was ended.
    const int64_t step = event.has_metrics() ? event.metrics().step() : event.evaluation().step();
    if (step > last_step) break;
    kept.push_back(std::move(event));
    absl::StrAppend(&lines, line, "\n");
  }
  file_.Reset();
  RETURN_IF_ERROR(WriteFileAtomically(path_, lines));
  ASSIGN_OR_RETURN(file_, OpenFile(path_, O_WRONLY | O_APPEND));
  return kept;
}

absl::Status MetricLog::GoBackTo(int64_t step) {
  while (!rows_.empty() && rows_.back().step > step) rows_.pop_back();
  while (!evaluations_.empty() && evaluations_.back().step > step) evaluations_.pop_back();
  return file_.valid() ? CutFile(step).status() : absl::OkStatus();
}

absl::Status MetricLog::Add(const v1::JobEvent& event) {
  if (event.divergence().action() == v1::DIVERGENCE_ACTION_ROLLED_BACK) {
    return GoBackTo(event.divergence().rolled_back_to_step());
  }
  // A run that was ended in an evaluation, or before it was saved, does it again when it resumes.
  const int64_t last_evaluation = evaluations_.empty() ? 0 : evaluations_.back().step;
  if (event.has_evaluation() && event.evaluation().step() <= last_evaluation) {
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
    evaluations_.push_back({result.step(), result.is_best(), rows_.size()});
    rows_.push_back(
        {result.step(), result.epoch(), time, {result.values().begin(), result.values().end()}});
  }
}

absl::Status MetricLog::Write(const std::string& directory, const v1::FineTuneSpec& spec) const {
  TrainerStateInfo info;
  info.max_steps = total_steps_;
  info.num_train_epochs = spec.training().epochs();
  info.train_batch_size = spec.training().batch_size();
  info.eval_steps = spec.training().eval_every_steps();
  for (const Evaluation& evaluation : evaluations_) {
    const MetricRow& row = rows_[evaluation.row];
    const auto value = row.values.find(spec.training().early_stopping().metric());
    if (!evaluation.is_best || value == row.values.end()) continue;
    info.best_metric = value->second;
    info.best_global_step = row.step;
  }
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(directory, "metrics.jsonl"), MetricsJsonl(rows_)));
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(directory, "trainer_state.json"),
                                      TrainerStateJson(rows_, info)));
  return WriteFileAtomically(JoinPath(directory, TensorBoardFileName(rows_)),
                             TensorBoardEvents(rows_));
}

}  // namespace graft
