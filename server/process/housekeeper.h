#pragma once

#include <thread>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/blobs/file_blob_store.h"
#include "server/catalogue/job_logs.h"
#include "server/catalogue/publisher.h"
#include "server/store/job_store.h"

namespace graft {

struct HousekeeperOptions {
  absl::Duration interval = absl::Minutes(1);
  // Between two searches through all blobs for those that nothing ever named.
  absl::Duration search_interval = absl::Hours(1);
  // Nothing is searched for so long after the start: whoever started it with the wrong store or
  // clock sees it before anything is gone. What the store itself released does not wait for it.
  absl::Duration grace = absl::Hours(1);
  Clock* clock = &Clock::Real();
  // A blob that no row names is deleted once it is older: before, somebody may be about to name it.
  // One that was never named belongs to an upload that may take long.
  absl::Duration released_age = absl::Minutes(5);
  absl::Duration unnamed_age = absl::Hours(24);
};

// What must be done now and then: directories brought in line with the store (once, at the start),
// blobs that nothing names and logs of jobs that are gone deleted. Owns one thread.
class Housekeeper {
 public:
  // The others must outlive it.
  Housekeeper(const HousekeeperOptions& options, JobStore& store, FileBlobStore& blobs,
              Publisher& publisher, JobLogs& logs);
  ~Housekeeper();

 private:
  void Run();
  void SaveRunningTime();
  // Logs what a deletion of `what` came to.
  void Report(absl::string_view what, const absl::StatusOr<int64_t>& deleted);
  bool stopping();

  const HousekeeperOptions options_;
  JobStore& store_;
  FileBlobStore& blobs_;
  Publisher& publisher_;
  JobLogs& logs_;
  Mutex mutex_;
  CondVar stop_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// Deletes the blobs that are older than `age` by their file's time and that the store does not
// name. Returns how many. An error ends it.
absl::StatusOr<int64_t> CollectGarbage(JobStore& store, FileBlobStore& blobs, absl::Duration age);
// The same for those that lost a name since they were last seen to (JobStore::ReleasedBlobs); what
// is younger waits for the next time.
absl::StatusOr<int64_t> DeleteReleased(JobStore& store, FileBlobStore& blobs, absl::Duration age);
// Deletes the logs of jobs that the store does not know: a worker may have sent them while the job
// was deleted. Returns of how many.
absl::StatusOr<int64_t> DeleteOrphanedLogs(JobStore& store, JobLogs& logs);

}  // namespace graft
