#pragma once

// Uploads that broke: of a file that was announced with its hash and size, what came is kept, and
// whoever sends the same file again goes on there.
//
//   BLOBS/partial/SHA256-SIZE   the file's first bytes
//
// Age is the store's running time since the last byte. It stands in the file's time of
// modification, as if that running time were counted from 1970, and so outlives a restart. A file
// that a killed server was writing still has the wall clock's time, which is later than any running
// time: its age begins when it is first looked at.

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "common/blobs/file_blob_store.h"
#include "common/telemetry/metrics.h"

namespace graft {

struct PartialLimits {
  absl::Duration lifetime = absl::Hours(24);
  // Of those that nobody is sending: the oldest go first.
  size_t max_count = 64;
  int64_t max_bytes = int64_t{32} << 30;
  // Who sent nothing for so long loses his upload to whoever asks for it: his connection may be
  // gone without a word.
  absl::Duration stalled = absl::Seconds(10);
};

// Thread-safe; blocks on the disk. Writers are used no longer than this lives.
class PartialUploads {
 public:
  // `running_time`: JobStore::RunningTime. All outlive this, and nobody scrapes `metrics` without
  // it. Codes of common/base/file.h.
  static absl::StatusOr<std::unique_ptr<PartialUploads>> Open(
      FileBlobStore& blobs, std::function<absl::Duration()> running_time, MetricRegistry& metrics,
      const PartialLimits& limits = {});

  // Bytes of the file that are there, all of them where it is a blob (which then counts as new). 0:
  // none, or somebody is sending it.
  int64_t Received(const std::string& sha256, int64_t size_bytes);

  // Takes the bytes of the file from `offset_bytes` on; what was there before is read and hashed
  // first, what was there behind it is dropped. Destroyed without Commit, the writer leaves what
  // came. While somebody else sends the file, who begins at 0 writes a copy of his own, of which
  // nothing is kept.
  // OUT_OF_RANGE: fewer bytes are there. ABORTED: somebody else sends the file, or (from Append)
  // has taken it over. Commit: DATA_LOSS when the bytes are others than the hash says, and nothing
  // of them stays. Else codes of BlobStore::NewWriter and BlobWriter.
  absl::StatusOr<std::unique_ptr<BlobWriter>> Resume(const std::string& sha256, int64_t size_bytes,
                                                     int64_t offset_bytes);

  // Deletes what is too old or beyond the limits, and as many of the oldest as it takes to leave
  // the disk its reserve (upload_room.h). Returns how many.
  absl::StatusOr<int64_t> Trim();
  // Deletes the oldest that nobody is sending, so many bytes of them. False: there are not so many,
  // and all stay.
  bool MakeWay(int64_t bytes);

  // Of those that nobody is sending.
  struct Usage {
    int64_t count = 0;
    int64_t bytes = 0;
  };
  Usage usage();

 private:
  // Who sends a file. The file is his as long as he is not `revoked`.
  struct Sender {
    Mutex mutex;  // Held while he writes.
    bool revoked ABSL_GUARDED_BY(mutex) = false;
    std::atomic<int64_t> heard_ns{0};  // Running time.
  };
  struct Idle {
    std::string name;
    int64_t bytes = 0;
    absl::Duration since;
  };
  class Writer;

  PartialUploads(FileBlobStore& blobs, std::function<absl::Duration()> running_time,
                 MetricRegistry& metrics, const PartialLimits& limits);
  std::string PathOf(const std::string& name) const;
  void Hear(Sender& sender) const;
  // Is somebody sending it who is not stalled?
  bool IsSent(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A new sender of the file, for whom a stalled one makes way. Null: somebody sends it.
  std::shared_ptr<Sender> Take(const std::string& name) ABSL_LOCKS_EXCLUDED(mutex_);
  // The file is nobody's again.
  void Release(const std::string& name, const std::shared_ptr<Sender>& sender)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The oldest first; gives those an age that have none.
  std::vector<Idle> ListIdle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static int64_t TotalBytes(const std::vector<Idle>& uploads);

  FileBlobStore& blobs_;
  const std::string directory_;
  const std::function<absl::Duration()> running_time_;
  const PartialLimits limits_;
  CounterFamily& resumed_bytes_;
  Mutex mutex_;  // While it is held, no file becomes somebody's.
  std::map<std::string, std::shared_ptr<Sender>> senders_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
