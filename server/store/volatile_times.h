#pragma once

// Moments that are counted on the monotonic clock and die with the process: ends of leases and of
// retry back-offs. They are not rows: a restarted server grants every lease a full term and lets
// waiting retries run at once, and a renewal costs no disk write (so that a full disk loses no
// lease). They change when the transaction that decided so is stored (VerbContext::AfterCommit), so
// that a commit that fails leaves them as they were. Thread-safe.

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>

#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace graft {

class VolatileTimes {
 public:
  // Nullopt: not known, since the store was opened anew.
  std::optional<absl::Duration> LeaseEnd(int64_t job, int64_t lease_epoch) const {
    MutexLock lock(mutex_);
    const auto found = leases_.find(job);
    if (found == leases_.end() || found->second.lease_epoch != lease_epoch) return std::nullopt;
    return found->second.end;
  }
  // When it was claimed, or the store was opened anew.
  std::optional<absl::Duration> LeaseBegin(int64_t job, int64_t lease_epoch) const {
    MutexLock lock(mutex_);
    const auto found = leases_.find(job);
    if (found == leases_.end() || found->second.lease_epoch != lease_epoch) return std::nullopt;
    return found->second.begin;
  }
  // From `now` on it lasts for `duration`.
  void ExtendLease(int64_t job, int64_t lease_epoch, absl::Duration now, absl::Duration duration) {
    MutexLock lock(mutex_);
    Lease& lease = leases_[job];
    if (lease.lease_epoch != lease_epoch) lease = {lease_epoch, now};
    lease.end = now + duration;
  }
  void SetNotBefore(int64_t job, absl::Duration time) {
    MutexLock lock(mutex_);
    not_before_[job] = time;
  }
  // Zero: at once.
  absl::Duration NotBefore(int64_t job) const {
    MutexLock lock(mutex_);
    const auto found = not_before_.find(job);
    return found == not_before_.end() ? absl::ZeroDuration() : found->second;
  }
  // Earliest back-off that ends after `now`.
  absl::Duration NextRetry(absl::Duration now) const {
    MutexLock lock(mutex_);
    absl::Duration next = absl::InfiniteDuration();
    for (const auto& [job, time] : not_before_) {
      if (time > now) next = std::min(next, time);
    }
    return next;
  }
  // The job is neither leased nor waiting any more.
  void Forget(int64_t job) {
    MutexLock lock(mutex_);
    leases_.erase(job);
    not_before_.erase(job);
  }

 private:
  struct Lease {
    int64_t lease_epoch = 0;
    absl::Duration begin;
    absl::Duration end;
  };
  mutable Mutex mutex_;
  std::map<int64_t, Lease> leases_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, absl::Duration> not_before_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
