#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "graft/v1/adapter.pb.h"
#include "graft/worker/v1/worker.pb.h"
#include "server/streams/message_stream.h"
#include "server/workers/worker_hub.h"

namespace graft {

// Messages of one text that wait for its reader at the most. A text has at most one message a token
// and one more.
inline constexpr size_t kMaxGenerationMessages = 4096;
// Times that a text is given to another worker after the first was lost or turned out busy.
inline constexpr int kMaxGenerationMoves = 3;

// Texts that users wait for: no stored jobs, a bounded queue in memory. Each is given to a worker
// that is idle, or runs a job on the same base model, as a command, and comes back through
// ReportGeneration. Thread-safe; calls the hub and wakers outside its lock.
class GenerationBroker {
 public:
  class Generation;
  using Handle = std::shared_ptr<Generation>;

  GenerationBroker(WorkerHub& hub, size_t max_queued) : hub_(hub), max_queued_(max_queued) {}

  // UNAVAILABLE: no worker is connected; RESOURCE_EXHAUSTED with RetryInfo: too many wait.
  // `command` is complete but for its id.
  absl::StatusOr<Handle> Submit(worker::v1::Command::Generate command,
                                std::shared_ptr<StreamWaker> waker);
  // What the user's stream sends next.
  absl::StatusOr<SourceState> Next(const Handle& generation, v1::GenerateResponse* response);
  // The user's stream is over, for whatever reason.
  void Abandon(const Handle& generation);

  // The worker's side. NOT_FOUND: nobody waits for it any more, the worker stops it.
  absl::StatusOr<Handle> Claim(const std::string& id, const std::string& worker);
  absl::Status Report(const Handle& generation, v1::GenerateResponse response);
  // The worker has finished (`status` OK), failed, or its stream broke.
  void Finish(const Handle& generation, const absl::Status& status);
  // Gives what it had not begun to others and ends the rest.
  void WorkerLost(const std::string& worker);

  // Gives queued texts to workers, the first first, but none waits behind one that finds no place.
  // Called whenever a place may have become free.
  void Dispatch();

  size_t queued() const;

 private:
  // Gives the first text that finds a place. False: none does.
  bool GiveFirst();
  void Give(const Handle& generation, const WorkerHub::TextPlace& place);
  // Gives the place back to the hub.
  void Leave(const Handle& generation, const WorkerHub::TextPlace& place, bool refused);
  void End(const Handle& generation, const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Back into the queue if it had not begun and was not moved too often; else ended with `status`.
  void MoveOrEnd(const Handle& generation, const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  WorkerHub& hub_;
  const size_t max_queued_;
  mutable Mutex mutex_;
  int64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  std::deque<Handle> queue_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Handle> running_ ABSL_GUARDED_BY(mutex_);  // By id: given to a worker.
};

// Guarded by the broker's mutex but for what is const.
class GenerationBroker::Generation {
 public:
  Generation(worker::v1::Command::Generate command, std::shared_ptr<StreamWaker> waker)
      : command_(std::move(command)), waker_(std::move(waker)) {}

 private:
  friend class GenerationBroker;
  const worker::v1::Command::Generate command_;
  const std::shared_ptr<StreamWaker> waker_;
  WorkerHub::TextPlace place_;  // No worker: queued.
  bool claimed_ = false;
  bool begun_ = false;  // A message of it was reported.
  bool ended_ = false;
  int moves_ = 0;
  absl::Status end_;
  std::deque<v1::GenerateResponse> messages_;
};

}  // namespace graft
