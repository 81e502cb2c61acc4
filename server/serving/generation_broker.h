#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "graft/v1/adapter.pb.h"
#include "graft/worker/v1/worker.pb.h"
#include "server/serving/text.h"
#include "server/serving/text_queue.h"
#include "server/serving/text_telemetry.h"
#include "server/streams/message_stream.h"
#include "server/workers/worker_hub.h"

namespace graft {

// Times that a text is given to another worker after the first was lost or turned out busy.
inline constexpr int kMaxGenerationMoves = 3;
// Of a batch, under way at once.
inline constexpr size_t kMaxRowsInBatch = 32;
// For which a batch that has a slot takes further texts: a job may wait for that slot. One beside a
// job takes them for as long as it lasts.
inline constexpr absl::Duration kBatchJoinTime = absl::Seconds(30);

// Texts that users wait for: no stored jobs, a bounded queue in memory. They are given to workers
// as rows of batches, and come back through ReportGeneration:
//
//   call ──▶ texts ──▶ queue (by turns of adapters) ──▶ rows of a batch of their base ──▶ worker
//    ▲                   ▲                                  │
//    │                   └─ not begun when it ended ◀───────┤
//    └──────────────────────────────────── messages ◀───────┘
//
// A batch begins where a worker is idle, or runs a job on the base model; texts join one that runs
// before another begins. A worker without batches_texts gets batches of one row.
// Thread-safe; calls the hub and wakers outside its lock.
class GenerationBroker {
 public:
  using Handle = std::shared_ptr<TextCall>;
  using Batch = std::shared_ptr<TextBatch>;

  // Everything outlives it. No more than `max_queued` texts wait.
  GenerationBroker(WorkerHub& hub, Clock& clock, TextTelemetry& telemetry, size_t max_queued)
      : hub_(hub), clock_(clock), telemetry_(telemetry), max_queued_(max_queued) {}

  // `commands`, one or more, are complete but for where they are made. All of their texts are
  // taken or none: UNAVAILABLE: no worker is connected that can make them; RESOURCE_EXHAUSTED, with
  // RetryInfo if it can help: too many wait.
  absl::StatusOr<Handle> Submit(std::vector<worker::v1::Command::Generate> commands,
                                std::shared_ptr<StreamWaker> waker);
  // What the user's stream sends next: of all its texts, as it came. kEnd: all have ended.
  SourceState Next(const Handle& call, v1::GenerateBatchResponse* response);
  // The user's stream is over, for whatever reason, and with it its texts.
  void Abandon(const Handle& call);

  // The worker's side. NOT_FOUND: nobody waits for it any more, the worker stops it.
  absl::StatusOr<Batch> Claim(const std::string& id, const std::string& worker);
  // CANCELLED: no row is left that anybody waits for. What is told of a row that has ended is
  // dropped.
  absl::Status Report(const Batch& batch, int row, v1::GenerateResponse response);
  // The row has failed. UNAVAILABLE: it goes to another worker, if it had not begun.
  void EndRow(const Batch& batch, int row, const absl::Status& status);
  // The worker's report has ended (`status` OK), or broke (UNAVAILABLE). Gives what had not begun
  // to others and ends the rest.
  void Finish(const Batch& batch, const absl::Status& status);
  void WorkerLost(const std::string& worker);

  // Gives queued texts to workers, by turns, but none waits behind one that finds no place. Called
  // whenever a place may have become free.
  void Dispatch();

  size_t queued() const;
  std::map<std::string, size_t> QueuedByAdapter() const;

 private:
  struct Given {
    Batch batch;
    int row;
    worker::v1::Command command;
  };
  using Wakers = std::vector<std::shared_ptr<StreamWaker>>;

  // The first text that finds a place begins a batch there. False: none does.
  bool BeginBatch();
  void BeginBatchAt(const WorkerHub::TextPlace& place, const std::string& base);
  void Fill(const Batch& batch, std::vector<Given>& given) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddRow(const Batch& batch, Text& text, std::vector<Given>& given)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Send(std::vector<Given> given);
  void TakeBack(const Given& given);
  // Gives the place back to the hub. `refused`: there was none.
  void Leave(const TextBatch& batch, bool refused);

  void Count(Text& text, const v1::GenerateResponse& response)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeaveRow(Text& text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(Text& text, const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Back into the queue if it had not begun and was not moved too often; else ended with `status`.
  void MoveOrEnd(Text& text, const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // All rows, so that the first is the next again.
  void MoveOrEndRows(const Batch& batch, const absl::Status& status, Wakers& wakers)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends the queued texts that no connected worker can make.
  void EndHopeless();

  WorkerHub& hub_;
  Clock& clock_;
  TextTelemetry& telemetry_;
  const size_t max_queued_;
  mutable Mutex mutex_;
  int64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  TextQueue queue_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Batch> batches_ ABSL_GUARDED_BY(mutex_);  // By id: given to workers.
};

}  // namespace graft
