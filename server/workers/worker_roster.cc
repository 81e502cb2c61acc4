#include "server/workers/worker_roster.h"

#include <algorithm>
#include <utility>

#include "common/base/file.h"

namespace graft {

WorkerRoster::Entry& WorkerRoster::EntryOf(const std::string& id, absl::Duration lease) {
  if (!entries_.contains(id) && entries_.size() >= kMaxRememberedWorkers) {
    const auto oldest = std::min_element(
        entries_.begin(), entries_.end(),
        [](const auto& a, const auto& b) { return a.second.heard < b.second.heard; });
    if (oldest->second.looked_at) forgotten_.push_back(oldest->first);
    entries_.erase(oldest);
  }
  Entry& entry = entries_[id];
  entry.heard = clock_.Boottime();
  entry.up_until = entry.heard + lease;
  return entry;
}

void WorkerRoster::Connected(const worker::v1::ConnectRequest& hello, absl::Duration lease) {
  MutexLock lock(mutex_);
  Entry& entry = EntryOf(hello.worker().id(), lease);
  entry.hostname = hello.hostname();
  entry.leaving = false;
}

void WorkerRoster::Heard(const worker::v1::HeartbeatRequest& heartbeat, absl::Duration lease) {
  const std::string& id = heartbeat.worker().id();
  if (!IsSafeFileName(id)) return;
  const int64_t total = heartbeat.engine_restarts_total();
  MutexLock lock(mutex_);
  Entry& entry = EntryOf(id, lease);
  entry.leaving = heartbeat.leaving();
  if (entry.instance != heartbeat.worker().instance()) {
    entry.instance = heartbeat.worker().instance();
    // A worker of an earlier graft does not say what was counted: that all was, is the lesser
    // error.
    entry.counted = heartbeat.has_engine_restarts_acknowledged()
                        ? heartbeat.engine_restarts_acknowledged()
                        : total;
  }
  // A heartbeat that comes late tells nothing new.
  if (total <= entry.counted) return;
  entry.pending += total - entry.counted;
  entry.counted = total;
}

WorkerRoster::Look WorkerRoster::TakeLook(const std::set<std::string>& connected) {
  MutexLock lock(mutex_);
  Look look;
  look.forgotten = std::exchange(forgotten_, {});
  const absl::Duration now = clock_.Boottime();
  for (auto it = entries_.begin(); it != entries_.end();) {
    auto& [id, entry] = *it;
    const bool is_connected = connected.contains(id);
    if ((entry.leaving && !is_connected) || now - entry.heard > kAwayWorkerLifetime) {
      if (entry.looked_at) look.forgotten.push_back(id);
      it = entries_.erase(it);
      continue;
    }
    const bool known = std::exchange(entry.looked_at, true);
    look.workers.push_back({.id = id,
                            .hostname = entry.hostname,
                            .up = is_connected && now < entry.up_until,
                            .new_crashes = known ? std::exchange(entry.pending, 0) : 0});
    ++it;
  }
  return look;
}

}  // namespace graft
