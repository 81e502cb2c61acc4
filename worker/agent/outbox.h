#pragma once

// What a job's engine said, on its way to the server: in order, in numbered batches, each sent
// until it is acknowledged.

#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "graft/engine/v1/engine.pb.h"
#include "worker/agent/server_link.h"

namespace graft {

// Calls `upload` as ServerLink::Retry does. Where `what` waits since the server's disk is full,
// `warn` is told once, with the warning DISK_FULL for the job's log; its errors end the upload.
absl::Status UploadWhenThereIsRoom(ServerLink& link, StopSignal& stop, absl::string_view what,
                                   const std::function<absl::Status()>& upload,
                                   const std::function<absl::Status(v1::JobEvent warning)>& warn);

// One for an attempt; owns one thread. Add… are for the thread that reads the engine. While the
// server is away, events wait here; when kMaxQueuedEvents wait, Add blocks, and with it the engine:
// memory stays bounded and nothing is lost.
//
// A checkpoint is committed after every event before it, so that a run that resumes from it repeats
// exactly the events that are missing from the log.
class Outbox {
 public:
  static constexpr size_t kMaxQueuedEvents = 20000;
  static constexpr size_t kMaxBatchEvents = 256;
  // A batch of more than one event has at most this many bytes: a message has at most 4 MiB.
  static constexpr size_t kMaxBatchBytes = 2 << 20;
  // Events are collected for this long before a batch is sent: what a watcher sees is at most this
  // much older.
  static constexpr absl::Duration kBatchDelay = absl::Milliseconds(100);

  struct Stops {
    StopSignal& all;          // Nothing needs to be reported any more.
    StopSignal& checkpoints;  // Nor checkpoints: they are left out.
  };
  // `on_refused` is called when the server refuses for good, with its answer, on the outbox's
  // thread.
  Outbox(ServerLink& link, std::string job, int64_t lease_epoch, const Stops& stops,
         std::function<void(const absl::Status&)> on_refused);
  ~Outbox();

  void AddEvent(v1::JobEvent event) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetProgress(const engine::v1::Progress& progress) ABSL_LOCKS_EXCLUDED(mutex_);
  // The files lie below `directory`. A checkpoint that is no longer there when its turn comes was
  // followed by a newer one.
  void AddCheckpoint(std::string directory, const engine::v1::CheckpointWritten& checkpoint)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // The last call: waits until everything is with the server and returns the number of the last
  // batch. CANCELLED: it was stopped; else what the server refused with.
  absl::StatusOr<int64_t> Drain() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Checkpoint {
    std::string directory;
    engine::v1::CheckpointWritten written;
  };
  using Item = std::variant<v1::JobEvent, Checkpoint>;

  void Run();
  // Blocks until there is something to send, and takes the right to send it; false when it is over.
  bool WaitForWork() ABSL_LOCKS_EXCLUDED(mutex_);
  // Sends what is in front of the queue: a batch of events with the latest progress, or a
  // checkpoint.
  absl::Status SendFront() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status SendBatch(std::vector<v1::JobEvent> events) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status SendCheckpoint(const Checkpoint& checkpoint);
  absl::Status UploadAndCommit(const Checkpoint& checkpoint);

  ServerLink& link_;
  const std::string job_;
  const int64_t lease_epoch_;
  StopSignal& stop_;
  StopSignal& checkpoints_;
  const std::function<void(const absl::Status&)> on_refused_;
  StopSignal finished_;  // Ends the thread's pauses.

  Mutex mutex_;
  CondVar changed_;
  std::deque<Item> items_ ABSL_GUARDED_BY(mutex_);
  engine::v1::Progress progress_ ABSL_GUARDED_BY(mutex_);
  bool progress_changed_ ABSL_GUARDED_BY(mutex_) = false;
  bool sending_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  int64_t batch_ = 0;  // The thread's own; read after it was joined or while nothing is sent.
  std::thread thread_;
};

}  // namespace graft
