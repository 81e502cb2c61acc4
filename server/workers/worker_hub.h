#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "graft/worker/v1/worker.pb.h"
#include "server/streams/message_stream.h"

namespace graft {

// Commands that wait for one worker at the most; a worker that reads none is cut off and comes
// back.
inline constexpr size_t kMaxQueuedCommands = 4096;
inline constexpr size_t kMaxConnectedWorkers = 1000;
inline constexpr int kMaxWorkerSlots = 64;  // As graft-worker --slots takes them.

// The workers that are connected now and their command streams. Memory only: a worker that comes
// back tells everything again. What must last is in the store. Thread-safe; calls nobody under its
// lock.
class WorkerHub {
 public:
  // One Connect stream. The hub and the stream's source share it.
  class Link {
   public:
    Link(worker::v1::ConnectRequest hello, std::shared_ptr<StreamWaker> waker)
        : hello_(std::move(hello)), waker_(std::move(waker)) {}
    // False: too many wait already, or the link is closed.
    bool Send(worker::v1::Command command);
    // Ends the stream with `status`.
    void Close(const absl::Status& status);
    absl::StatusOr<SourceState> Next(worker::v1::Command* command);
    const worker::v1::ConnectRequest& hello() const { return hello_; }

   private:
    const worker::v1::ConnectRequest hello_;
    const std::shared_ptr<StreamWaker> waker_;
    Mutex mutex_;
    std::deque<worker::v1::Command> commands_ ABSL_GUARDED_BY(mutex_);
    bool closed_ ABSL_GUARDED_BY(mutex_) = false;
    absl::Status end_ ABSL_GUARDED_BY(mutex_);
  };

  struct WorkerView {
    std::string id;
    std::string hostname;
    std::string version;
    std::vector<std::string> devices;
    int engine_threads = 0;
    int slots = 0;
    int free_slots = 0;
    bool serves_only = false;
    absl::Duration since_heard;
  };

  explicit WorkerHub(Clock& clock) : clock_(clock) {}

  // A new stream of this worker replaces its older one, which ends with ABORTED. INVALID_ARGUMENT:
  // no id or a bad one, or too many slots; RESOURCE_EXHAUSTED: too many workers.
  absl::StatusOr<std::shared_ptr<Link>> Connect(const worker::v1::ConnectRequest& hello,
                                                std::shared_ptr<StreamWaker> waker);
  // Called when the stream is over. Forgets the worker unless a newer stream of it is there. True:
  // forgotten.
  bool Disconnect(const std::shared_ptr<Link>& link);

  // A heartbeat's news. Base models, by hash, that are held by engines without and with a job.
  struct Bases {
    std::set<std::string> idle;
    std::set<std::string> busy;
  };
  // `free_slots` beyond those that the worker has are none.
  void Seen(const std::string& worker, int free_slots, Bases bases = {});
  // A job or a text was given to it (-1) or is over (+1); the next heartbeat corrects it.
  void AdjustFreeSlots(const std::string& worker, int change);
  // Where texts on a base model are to be made: in a free slot of a worker that only serves, or
  // holds the model, else between two steps of a job on it (one place a worker), else in a slot of
  // the connected worker that has most of them free. The place is taken. No worker: there is none
  // now. With `needs_batching` it is one with batches_texts.
  struct TextPlace {
    std::string worker;
    bool beside_job = false;
    bool batches = false;  // It has batches_texts.
  };
  TextPlace TakePlaceForText(const std::string& base, bool needs_batching = false);
  // Whether a worker is connected that ever has such a place.
  bool CanMakeTexts(bool needs_batching) const;
  // The texts are over. `refused`: there was no such place; until the next heartbeat there is none.
  void LeavePlaceBesideJob(const std::string& worker, const std::string& base, bool refused);

  // A worker that takes Measure commands and does nothing now, one that holds the base model first;
  // none that only serves. A slot of it is taken, but work is announced to it, for which it gives
  // way. Empty: there is none.
  std::string TakeIdleWorker(const std::string& base);
  void LeaveIdleWorker(const std::string& worker);

  // False: not connected, or it reads nothing. Nothing that must arrive goes this way alone.
  bool Send(const std::string& worker, worker::v1::Command command);
  // "There may be work", to everybody who has a slot for jobs, or can make one free.
  void AnnounceWork();

  bool empty() const;
  std::vector<WorkerView> workers() const;

 private:
  struct Entry {
    std::shared_ptr<Link> link;
    int free_slots = 0;
    Bases bases;
    bool text_beside_job = false;
    bool measures = false;     // A job, now.
    absl::Duration last_seen;  // Boottime.
  };
  static bool MakesTexts(const Entry& entry, bool needs_batching) {
    return !needs_batching || entry.link->hello().batches_texts();
  }

  Clock& clock_;
  mutable Mutex mutex_;
  std::map<std::string, Entry> workers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
