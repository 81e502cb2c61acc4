#pragma once

// The workers that this server has heard of: those that are up, and those that were and are away
// (killed, hung, cut off), which no list of connections has. And the crashes of their engines, each
// counted once however often worker and server start anew:
//
//   worker ── heartbeat {total 3, acknowledged 2} ──▶ server   counts 3 - 2 of an instance that it
//          ◀─────────────── OK ────────────────────            does not know, 3 - seen of one that
//          ── heartbeat {total 3, acknowledged 3} ──▶          it knows
//
// Memory only: a server that starts anew knows nobody until workers come back.

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "graft/worker/v1/worker.pb.h"

namespace graft {

// A worker that is away is forgotten after this long.
inline constexpr absl::Duration kAwayWorkerLifetime = absl::Hours(24);
// Workers that are remembered at the most; one more takes the place of the one that was heard of
// least recently.
inline constexpr size_t kMaxRememberedWorkers = 1000;

// Thread-safe.
class WorkerRoster {
 public:
  struct Worker {
    std::string id;
    std::string hostname;
    bool up = false;
    // Crashes that no look has told of. The first look at a worker tells of none, since a counter
    // must have been seen before its increase is: Prometheus takes a first value for an old one.
    int64_t new_crashes = 0;
  };
  struct Look {
    std::vector<Worker> workers;  // By id.
    std::vector<std::string>
        forgotten;  // Ids of the last look that are no more: left, or away too long.
  };

  explicit WorkerRoster(Clock& clock) : clock_(clock) {}

  // The worker is up for `lease` from now unless its connection ends; each heartbeat begins the
  // lease anew. Heartbeats of ids that are none are ignored.
  void Connected(const worker::v1::ConnectRequest& hello, absl::Duration lease)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Heard(const worker::v1::HeartbeatRequest& heartbeat, absl::Duration lease)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Takes in who is connected now. A worker that said that it leaves is forgotten when it is not.
  Look TakeLook(const std::set<std::string>& connected) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Entry {
    std::string hostname;
    absl::Duration heard;  // Boottime.
    absl::Duration up_until;
    bool leaving = false;
    std::string instance;  // Whose crashes are counted.
    int64_t counted = 0;
    int64_t pending = 0;  // Counted, but not yet told.
    bool looked_at = false;
  };

  Entry& EntryOf(const std::string& id, absl::Duration lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Clock& clock_;
  Mutex mutex_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> forgotten_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
