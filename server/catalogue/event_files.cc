#include "server/catalogue/event_files.h"

#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/formats/metric_row.h"
#include "common/formats/metrics_jsonl.h"
#include "common/formats/tensorboard.h"
#include "common/formats/trainer_state.h"
#include "server/catalogue/logged_rows.h"

namespace graft {
namespace {

// What the files say before their rows, and what is told of them.
struct LogHead {
  int64_t last_event = 0;
  std::vector<Rollback> rollbacks;
  std::optional<double> first_time;  // wall time of the first row, seconds
  TrainerStateInfo info;
};

absl::StatusOr<LogHead> ReadHead(JobStore& store, const v1::Job& job, int64_t best_step,
                                 const std::vector<Rollback>& rollbacks, const Gone& gone) {
  const v1::TrainingSpec& training = job.resolved_spec().fine_tune().training();
  LogHead head;
  head.info.max_steps = job.total_steps();
  head.info.num_train_epochs = training.epochs();
  head.info.train_batch_size = training.batch_size();
  head.info.eval_steps = training.eval_every_steps();
  if (best_step > 0) head.info.best_global_step = best_step;
  const auto visit_row = [&](const MetricRow& row) {
    if (!head.first_time.has_value()) head.first_time = row.wall_time_seconds;
    head.info.global_step = row.step;
    head.info.epoch = row.epoch;
    const auto value = row.values.find(training.early_stopping().metric());
    if (best_step > 0 && row.step == best_step && value != row.values.end()) {
      head.info.best_metric = value->second;
    }
    return absl::OkStatus();
  };
  const auto visit = [&](const v1::JobEvent& event) {
    head.last_event = event.sequence();
    NoteRollback(event, head.rollbacks);
    return VisitRow(event, rollbacks, visit_row);
  };
  const int64_t all = std::numeric_limits<int64_t>::max();
  RETURN_IF_ERROR(ForEachEvent(store, job.name(), all, gone, visit));
  return head;
}

// A blob that is made piece by piece: what stands in `text` is taken over by Flush.
class WrittenFile {
 public:
  explicit WrittenFile(BlobStore& blobs) : writer_(blobs.NewWriter({})) {}

  std::string text;

  absl::Status Flush() {
    RETURN_IF_ERROR(writer_.status());
    RETURN_IF_ERROR((*writer_)->Append(text));
    text.clear();
    return absl::OkStatus();
  }
  absl::Status FlushIfLong() { return text.size() < kFlushBytes ? absl::OkStatus() : Flush(); }

  absl::StatusOr<ManifestFile> Commit(const std::string& path) {
    RETURN_IF_ERROR(Flush());
    ASSIGN_OR_RETURN(const BlobInfo blob, (*writer_)->Commit());
    return ManifestFile{path, blob.size_bytes, blob.sha256};
  }

 private:
  static constexpr size_t kFlushBytes = size_t{64} << 10;

  absl::StatusOr<std::unique_ptr<BlobWriter>> writer_;
};

}  // namespace

absl::StatusOr<std::vector<ManifestFile>> MakeEventFiles(JobStore& store, BlobStore& blobs,
                                                         const v1::Job& job, int64_t best_step,
                                                         const Gone& gone) {
  std::vector<ManifestFile> files;
  if (!job.resolved_spec().has_fine_tune()) return files;
  ASSIGN_OR_RETURN(LogHead head, ReadHead(store, job, best_step, {}, gone));
  if (!head.rollbacks.empty()) {  // Some of the rows do not count.
    ASSIGN_OR_RETURN(head, ReadHead(store, job, best_step, head.rollbacks, gone));
  }
  const double first_time = head.first_time.value_or(0);

  WrittenFile metrics(blobs);
  WrittenFile state(blobs);
  WrittenFile board(blobs);
  TrainerStateWriter state_writer(head.info, state.text);
  AppendTensorBoardHeader(first_time, board.text);
  const auto visit_row = [&](const MetricRow& row) {
    AppendMetricsJsonl(row, metrics.text);
    state_writer.Add(row);
    AppendTensorBoardEvent(row, board.text);
    for (WrittenFile* file : {&metrics, &state, &board}) RETURN_IF_ERROR(file->FlushIfLong());
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(ForEachEvent(
      store, job.name(), head.last_event, gone,
      [&](const v1::JobEvent& event) { return VisitRow(event, head.rollbacks, visit_row); }));
  state_writer.Finish();

  const std::pair<std::string, WrittenFile*> made[] = {{"metrics.jsonl", &metrics},
                                                       {"trainer_state.json", &state},
                                                       {TensorBoardFileName(first_time), &board}};
  for (const auto& [path, file] : made) {
    ASSIGN_OR_RETURN(ManifestFile committed, file->Commit(path));
    files.push_back(std::move(committed));
  }
  return files;
}

}  // namespace graft
