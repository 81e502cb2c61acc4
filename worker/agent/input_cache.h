#pragma once

// Brings what a job reads (base model, adapter, data sets, checkpoint) onto this machine, by
// content hash.

#include <string>

#include "absl/status/statusor.h"
#include "common/base/stop_signal.h"
#include "common/blobs/hash_cache.h"
#include "graft/worker/v1/worker.pb.h"
#include "worker/agent/server_link.h"

namespace graft {

// Blobs that are fetched are kept in `directory`/blobs; folders are links to them in
// `directory`/folders. When the server's own blob directory is readable from here, its files are
// used in place and nothing is copied. Whatever is used has been hashed, once as long as the file
// stays the same (HashCache): a copy that is corrupt is fetched again, and of a blob of the
// server's that is corrupt the server is asked, which answers DATA_LOSS unless it has mended it.
// Thread-safe for different contents; the same blob fetched twice at once is merely fetched twice.
class InputCache {
 public:
  InputCache(std::string directory, ServerLink& link);

  // `directory` of Welcome; empty, or one that cannot be read here, means fetching.
  void UseServerBlobs(const std::string& directory) ABSL_LOCKS_EXCLUDED(mutex_);

  // kAgain: whatever is known of a file, it is read from the disk, which may have changed it
  // without changing its times.
  enum class Hashing { kOnce, kAgain };

  // A folder that holds the files under their names. INVALID_ARGUMENT: the files are not described
  // as they must be (an unsafe name, no SHA-256), which no other machine and no second try mends;
  // DATA_LOSS: the server's own file is corrupt, named by its blob; else as ServerLink::FetchBlob
  // and OfThisMachine.
  absl::StatusOr<std::string> Folder(const worker::v1::InputFiles& files, StopSignal& stop,
                                     Hashing hashing = Hashing::kOnce);
  // A single file under its own name (its ending tells the format).
  absl::StatusOr<std::string> File(const v1::Artifact& file, StopSignal& stop);

 private:
  // Where the blob lies now.
  absl::StatusOr<std::string> Blob(const v1::Artifact& file, StopSignal& stop, Hashing hashing);
  // Whether a sound copy of ours lies at `path`; one that is corrupt is removed.
  absl::StatusOr<bool> IsCached(const std::string& path, const v1::Artifact& file, Hashing hashing);
  absl::Status Check(const std::string& path, const v1::Artifact& file, Hashing hashing);

  const std::string directory_;
  ServerLink& link_;
  HashCache hashes_;
  Mutex mutex_;
  std::string server_blobs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
