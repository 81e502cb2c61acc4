#pragma once

// Which files hold the bytes that their SHA-256 says. A file is read and hashed when it is first
// asked for, and again once anything about it has changed; in between an answer costs one fstat.

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/mutex.h"

namespace graft {

// Told how many bytes were read since the last time; false ends the reading.
using HashPace = std::function<bool(int64_t bytes)>;

// Files are told apart by device and inode, changes by size, time of modification and time of
// change: no file's time is compared with a clock but to see that it may still be the present.
// Thread-safe; blocks on the disk, under no lock.
class HashCache {
 public:
  // Whether the open file's bytes hash to `sha256`. DATA_LOSS: they don't, "<name> is corrupt: …",
  // or the device cannot read them. Codes of common/base/file.h.
  absl::Status Check(int fd, absl::string_view sha256, absl::string_view name);
  absl::Status CheckFile(const std::string& path, absl::string_view sha256, absl::string_view name);
  // Check that reads the file from the disk whatever is known of it. CANCELLED: `pace` said so.
  absl::Status Recheck(int fd, absl::string_view sha256, absl::string_view name,
                       const HashPace& pace);

  // Runs `change`, which gives the file other times or another number of links but leaves its bytes
  // alone, and keeps what is known of it. Returns what it returned.
  absl::Status KeepOver(const std::string& path, const std::function<absl::Status()>& change);

 private:
  struct Known {
    int64_t size = 0;
    int64_t modified_ns = 0;
    int64_t changed_ns = 0;
    std::string sha256;  // What it hashed to.
  };
  using FileId = std::pair<uint64_t, uint64_t>;  // Device, inode.

  static Known FactsOf(const struct stat& info);
  // Empty: nothing is known of the file as it is.
  std::string Find(const struct stat& info) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remember(const struct stat& info, const std::string& sha256) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status ReadAndCheck(int fd, absl::string_view sha256, absl::string_view name,
                            const HashPace* pace);

  Mutex mutex_;
  std::map<FileId, Known> known_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
