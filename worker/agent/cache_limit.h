#pragma once

// Keeps a worker's cache (input_cache.h and the engines' token files) from filling the disk.

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace graft {

// Removes what was used longest ago. Whoever uses a file marks it (MarkUsed): that gives it another
// time, which is a stamp here, compared and never counted with; since when a file has its stamp is
// counted by the clock. What an earlier process used counts as older than all that this one used,
// in the order of its stamps. Thread-safe.
class CacheLimit {
 public:
  // Looks at what an earlier process left; nothing runs yet that uses it. `clock` outlives it.
  CacheLimit(std::string directory, Clock& clock);

  // Removes regular files below the directory until the rest has at most `max_bytes`. Files used
  // within `min_age` stay, whatever they take: an attempt that starts may need them by name (what
  // is open or mapped survives its removal). Links are not followed and not counted. Returns the
  // bytes removed; NOT_FOUND and the like as the file system says.
  absl::StatusOr<int64_t> Trim(int64_t max_bytes, absl::Duration min_age)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct CachedFile {
    int64_t stamp = 0;
    int64_t bytes = 0;
    absl::Duration used;  // Boottime.
  };
  // Brings files_ up to date: what is new or has another stamp was used at `now`.
  absl::Status Look(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string directory_;
  Clock& clock_;
  Mutex mutex_;
  std::map<std::string, CachedFile> files_ ABSL_GUARDED_BY(mutex_);  // By path.
};

}  // namespace graft
