#pragma once

#include <optional>
#include <thread>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/stop_signal.h"
#include "common/blobs/file_blob_store.h"
#include "server/catalogue/job_logs.h"
#include "server/catalogue/partial_uploads.h"
#include "server/catalogue/publisher.h"
#include "server/operations/garbage.h"
#include "server/store/job_store.h"

namespace graft {

struct HousekeeperOptions {
  absl::Duration interval = absl::Minutes(1);
  // Between two searches through all blobs for those that nothing ever named.
  absl::Duration search_interval = absl::Hours(1);
  // Nothing is searched for, nor a job deleted, for so long after the start: whoever started it
  // with the wrong store or clock sees it before anything is gone. What the store itself released
  // does not wait for it.
  absl::Duration grace = absl::Hours(1);
  Clock* clock = &Clock::Real();
  CollectionAges ages;
};

// What must be done now and then: directories brought in line with the store (at the start, and as
// long as some cannot be made or show what was mended), blobs that nothing names, logs of jobs that
// are gone and jobs that ended long ago deleted, the store's running time saved. Owns one thread.
class Housekeeper {
 public:
  // The others must outlive it.
  Housekeeper(const HousekeeperOptions& options, JobStore& store, FileBlobStore& blobs,
              Publisher& publisher, JobLogs& logs, PartialUploads& partials);
  ~Housekeeper();

 private:
  void Run();
  void SaveRunningTime();
  void SeeToViews();
  void PruneJobs();
  // Counts the blobs anew, in 2 % of the time at most, and logs when their quota is nearly used up.
  void SeeToQuota();
  // Logs what a deletion of `what` came to.
  void Report(absl::string_view what, const absl::StatusOr<int64_t>& deleted);

  const HousekeeperOptions options_;
  JobStore& store_;
  FileBlobStore& blobs_;
  Publisher& publisher_;
  JobLogs& logs_;
  PartialUploads& partials_;
  // The thread's own.
  std::optional<int64_t> seen_repairs_;  // FileBlobStore::repairs.
  absl::Duration next_refresh_;
  absl::Duration refresh_delay_;
  absl::Duration next_count_;
  bool quota_nearly_used_ = false;
  StopSignal stop_;
  std::thread thread_;
};

}  // namespace graft
