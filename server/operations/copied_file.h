#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace graft {

struct CopiedFile {
  std::string sha256;  // Of what was written.
  int64_t size_bytes = 0;
};

// Told how many bytes were copied since the last time; false ends the copying.
using CopyPace = std::function<bool(int64_t bytes)>;

// Copies what the open file `from` holds, up to its end, into the new file `to`, synced; its name
// is the caller's to sync. `from_name` is for errors. CANCELLED: `pace` said so; codes of
// common/base/file.h. After an error a part of `to` may be there.
absl::StatusOr<CopiedFile> CopyAndHash(int from, const std::string& from_name,
                                       const std::string& to, mode_t mode, const CopyPace& pace);

// 0444 of a blob, 0600 of all else: as a server gives them.
mode_t ModeOfCopy(const std::string& relative_path);

// Bytes of all regular files below a directory; of none that is not there.
int64_t BytesBelow(const std::string& directory);

// Syncs the directory and all below it, so that the names in them last.
absl::Status SyncDirectories(const std::string& directory);

}  // namespace graft
