#pragma once

// The logs of attempts, as files that grow:
//
//   ROOT/<job id>/<attempt>/engine.000000000000  engine.000001048576 …
//                           worker.000000000000 …
//
// Each file is a piece of one log and named by its first byte's offset. Of a long log the head and
// the tail are kept. Nothing is synced: a log may lose its last lines to a power cut, and never
// waits for the disk.

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/mutex.h"
#include "graft/v1/job.pb.h"

namespace graft {

struct JobLogLimits {
  int64_t head_bytes = int64_t{4} << 20;
  int64_t tail_bytes = int64_t{12} << 20;
  int64_t job_bytes = int64_t{64} << 20;  // Of all attempts; the oldest go first.
  int64_t piece_bytes = int64_t{1} << 20;
};

// One log.
struct JobLogKey {
  std::string job_id;
  int32_t attempt = 0;
  v1::JobLogStream stream = v1::JOB_LOG_STREAM_UNSPECIFIED;
};

// Thread-safe. Codes of common/base/file.h; RESOURCE_EXHAUSTED: the disk is full, and as much was
// taken as there was room for.
class JobLogs {
 public:
  // Makes `root`.
  static absl::StatusOr<std::unique_ptr<JobLogs>> Open(std::string root,
                                                       const JobLogLimits& limits = {});

  // Takes what of `bytes`, which begin at `offset` of the log, lies beyond its end. Returns the
  // log's end then. An offset beyond the end leaves a gap.
  absl::StatusOr<int64_t> Append(const JobLogKey& key, int64_t offset, absl::string_view bytes)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // The first kept bytes at or after `offset`, at most `max_bytes`; none at the log's end (which is
  // 0 for a log that nobody wrote).
  struct Piece {
    int64_t offset = 0;
    std::string bytes;
  };
  absl::StatusOr<Piece> Read(const JobLogKey& key, int64_t offset, int64_t max_bytes) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<int64_t> End(const JobLogKey& key) const ABSL_LOCKS_EXCLUDED(mutex_);

  // Calls `on_growth` whenever a log of the job has grown, until the result is destroyed: under a
  // lock, so it must be quick and may not use this object. The result may not outlive it.
  std::shared_ptr<void> Listen(const std::string& job_id, std::function<void()> on_growth)
      ABSL_LOCKS_EXCLUDED(listeners_mutex_);

  absl::Status Delete(const std::string& job_id) ABSL_LOCKS_EXCLUDED(mutex_);
  // Ids of the jobs that have logs.
  absl::StatusOr<std::vector<std::string>> JobIds() const;

 private:
  struct File {
    int64_t begin = 0;
    int64_t end = 0;
    std::string path;
  };
  using Listener = std::pair<std::string, std::function<void()>>;

  JobLogs(std::string root, const JobLogLimits& limits) : root_(std::move(root)), limits_(limits) {}
  std::string DirectoryOf(const std::string& job_id, int32_t attempt) const;
  // In order.
  absl::StatusOr<std::vector<File>> FilesOf(const JobLogKey& key) const;
  absl::Status AppendLocked(const JobLogKey& key, int64_t offset, absl::string_view bytes,
                            std::vector<File>& files) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Removes what lies between head and tail.
  absl::Status DropMiddle(const std::vector<File>& files) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Removes the oldest attempts before `attempt` while the job has more than job_bytes.
  absl::Status DropOldAttempts(const std::string& job_id, int32_t attempt)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string root_;
  const JobLogLimits limits_;
  mutable Mutex mutex_;  // Files are looked at and changed under it.
  Mutex listeners_mutex_;
  std::list<Listener> listeners_ ABSL_GUARDED_BY(listeners_mutex_);
};

}  // namespace graft
