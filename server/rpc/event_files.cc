#include "server/rpc/event_files.h"

#include <string>
#include <utility>

#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/formats/metrics_jsonl.h"
#include "common/formats/tensorboard.h"
#include "common/formats/trainer_state.h"

namespace graft {
namespace {

template <typename Numbers>
MetricRow RowOf(const v1::JobEvent& event, const Numbers& numbers) {
  MetricRow row;
  row.step = numbers.step();
  row.epoch = numbers.epoch();
  row.wall_time_seconds =
      static_cast<double>(event.create_time().seconds()) + 1e-9 * event.create_time().nanos();
  row.values.insert(numbers.values().begin(), numbers.values().end());
  return row;
}

TrainerStateInfo InfoOf(const v1::Job& job, const std::vector<MetricRow>& rows, int64_t best_step) {
  const v1::TrainingSpec& training = job.resolved_spec().fine_tune().training();
  TrainerStateInfo info;
  info.max_steps = job.total_steps();
  info.num_train_epochs = training.epochs();
  info.train_batch_size = training.batch_size();
  info.eval_steps = training.eval_every_steps();
  if (best_step <= 0) return info;
  info.best_global_step = best_step;
  for (const MetricRow& row : rows) {
    const auto value = row.values.find(training.early_stopping().metric());
    if (row.step == best_step && value != row.values.end()) info.best_metric = value->second;
  }
  return info;
}

absl::StatusOr<ManifestFile> PutFile(BlobStore& blobs, const std::string& path,
                                     const std::string& bytes) {
  ASSIGN_OR_RETURN(const BlobInfo blob, blobs.Put(bytes));
  return ManifestFile{path, blob.size_bytes, blob.sha256};
}

}  // namespace

absl::Status ForEachEvent(JobStore& store, absl::string_view job,
                          const std::function<absl::Status(const v1::JobEvent&)>& visit) {
  int64_t after = 0;
  while (true) {
    ASSIGN_OR_RETURN(const std::vector<v1::JobEvent> events,
                     store.ReadEvents(job, after, kMaxEventsPerRead));
    if (events.empty()) return absl::OkStatus();
    for (const v1::JobEvent& event : events) RETURN_IF_ERROR(visit(event));
    after = events.back().sequence();
  }
}

absl::StatusOr<std::vector<MetricRow>> MetricRows(JobStore& store, absl::string_view job) {
  std::vector<MetricRow> rows;
  RETURN_IF_ERROR(ForEachEvent(store, job, [&](const v1::JobEvent& event) {
    if (event.has_metrics()) rows.push_back(RowOf(event, event.metrics()));
    if (event.has_evaluation()) rows.push_back(RowOf(event, event.evaluation()));
    return absl::OkStatus();
  }));
  return rows;
}

absl::StatusOr<std::vector<ManifestFile>> MakeEventFiles(JobStore& store, BlobStore& blobs,
                                                         const v1::Job& job, int64_t best_step) {
  std::vector<ManifestFile> files;
  if (!job.resolved_spec().has_fine_tune()) return files;
  ASSIGN_OR_RETURN(const std::vector<MetricRow> rows, MetricRows(store, job.name()));
  const std::pair<std::string, std::string> contents[] = {
      {"metrics.jsonl", MetricsJsonl(rows)},
      {"trainer_state.json", TrainerStateJson(rows, InfoOf(job, rows, best_step))},
      {TensorBoardFileName(rows), TensorBoardEvents(rows)},
  };
  for (const auto& [path, bytes] : contents) {
    ASSIGN_OR_RETURN(ManifestFile file, PutFile(blobs, path, bytes));
    files.push_back(std::move(file));
  }
  return files;
}

}  // namespace graft
