#pragma once

// The leases that this worker holds, and the engines that work under them.
//
//   slot thread ── owns the engine, attaches it ──▶ HeldLease ◀── heartbeat: Renew, Abandon, Cancel
//                                                       ▲──────── command stream: Cancel
//
// Self-fencing: a renewal moves the engine's deadline to (sending time of the heartbeat + lease -
// margin) on CLOCK_BOOTTIME. The engine blocks itself there; an engine that does not is suspended
// by signal.

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "graft/worker/v1/worker.pb.h"
#include "worker/agent/engine_launcher.h"

namespace graft {

// Thread-safe.
class HeldLease {
 public:
  HeldLease(std::string job, int64_t lease_epoch, absl::Duration deadline);

  const std::string& job() const { return job_; }
  int64_t lease_epoch() const { return lease_epoch_; }

  // From here on the engine learns of what is said below (and at once of what was said before).
  // Detach before it is destroyed.
  void Attach(EngineProcess* engine) ABSL_LOCKS_EXCLUDED(mutex_);
  void Detach() ABSL_LOCKS_EXCLUDED(mutex_);

  // `deadline`: on CLOCK_BOOTTIME.
  void Renew(absl::Duration deadline) ABSL_LOCKS_EXCLUDED(mutex_);
  // Asks the engine to stop; one that has not after `patience` is killed by the next Enforce.
  void Cancel(absl::Duration now, absl::Duration patience) ABSL_LOCKS_EXCLUDED(mutex_);
  // The lease is held by nobody or somebody else: kills the engine.
  void Abandon() ABSL_LOCKS_EXCLUDED(mutex_);
  // Applies what the passing of time demands. Called at each heartbeat's tick.
  void Enforce(absl::Duration now) ABSL_LOCKS_EXCLUDED(mutex_);

  bool abandoned() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool cancelled() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void SendFence() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendCancel() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string job_;
  const int64_t lease_epoch_;
  mutable Mutex mutex_;
  EngineProcess* engine_ ABSL_GUARDED_BY(mutex_) = nullptr;
  absl::Duration deadline_ ABSL_GUARDED_BY(mutex_);
  absl::Duration kill_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();
  bool suspended_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;
};

// Thread-safe.
class LeaseTable {
 public:
  std::shared_ptr<HeldLease> Add(std::string job, int64_t lease_epoch, absl::Duration deadline)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(const std::shared_ptr<HeldLease>& lease) ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<std::shared_ptr<HeldLease>> All() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Null when it is not held.
  std::shared_ptr<HeldLease> Find(const std::string& job, int64_t lease_epoch) const
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable Mutex mutex_;
  std::vector<std::shared_ptr<HeldLease>> leases_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
