#include "server/catalogue/event_files.h"

#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/formats/metric_row.h"
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

// Calls `visit` for the metrics and evaluations of a job's log in order, up to the event `last`.
// Returns the sequence of the last event that was read.
absl::StatusOr<int64_t> ForEachRow(JobStore& store, absl::string_view job, int64_t last,
                                   const Gone& gone,
                                   const std::function<absl::Status(const MetricRow&)>& visit) {
  int64_t after = 0;
  while (true) {
    RETURN_IF_ERROR(CheckWanted(gone));
    ASSIGN_OR_RETURN(const std::vector<v1::JobEvent> events,
                     store.ReadEvents(job, after, kMaxEventsPerRead));
    for (const v1::JobEvent& event : events) {
      if (event.sequence() > last) return after;
      if (event.has_metrics()) RETURN_IF_ERROR(visit(RowOf(event, event.metrics())));
      if (event.has_evaluation()) RETURN_IF_ERROR(visit(RowOf(event, event.evaluation())));
      after = event.sequence();
    }
    if (events.empty()) return after;
  }
}

// What the files say before their rows.
struct LogHead {
  int64_t last_event = 0;
  std::optional<double> first_time;  // wall time of the first row, seconds
  TrainerStateInfo info;
};

absl::StatusOr<LogHead> ReadHead(JobStore& store, const v1::Job& job, int64_t best_step,
                                 const Gone& gone) {
  const v1::TrainingSpec& training = job.resolved_spec().fine_tune().training();
  LogHead head;
  head.info.max_steps = job.total_steps();
  head.info.num_train_epochs = training.epochs();
  head.info.train_batch_size = training.batch_size();
  head.info.eval_steps = training.eval_every_steps();
  if (best_step > 0) head.info.best_global_step = best_step;
  const auto visit = [&](const MetricRow& row) {
    if (!head.first_time.has_value()) head.first_time = row.wall_time_seconds;
    head.info.global_step = row.step;
    head.info.epoch = row.epoch;
    const auto value = row.values.find(training.early_stopping().metric());
    if (best_step > 0 && row.step == best_step && value != row.values.end()) {
      head.info.best_metric = value->second;
    }
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(head.last_event,
                   ForEachRow(store, job.name(), std::numeric_limits<int64_t>::max(), gone, visit));
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
  ASSIGN_OR_RETURN(const LogHead head, ReadHead(store, job, best_step, gone));
  const double first_time = head.first_time.value_or(0);

  WrittenFile metrics(blobs);
  WrittenFile state(blobs);
  WrittenFile board(blobs);
  TrainerStateWriter state_writer(head.info, state.text);
  AppendTensorBoardHeader(first_time, board.text);
  const auto visit = [&](const MetricRow& row) {
    AppendMetricsJsonl(row, metrics.text);
    state_writer.Add(row);
    AppendTensorBoardEvent(row, board.text);
    for (WrittenFile* file : {&metrics, &state, &board}) RETURN_IF_ERROR(file->FlushIfLong());
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(ForEachRow(store, job.name(), head.last_event, gone, visit).status());
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
