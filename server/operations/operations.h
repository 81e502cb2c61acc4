#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "common/blobs/file_blob_store.h"
#include "graft/admin/v1/admin.pb.h"
#include "server/catalogue/job_logs.h"
#include "server/operations/operation_progress.h"
#include "server/store/job_store.h"

namespace graft {

// What the commands of graft-server do, on the parts of a server that runs or on those of no
// server's files. Thread-safe; calls block until all is done.
class Operations {
 public:
  struct Parts {
    JobStore& store;
    FileBlobStore& blobs;
    JobLogs& logs;
    std::string store_uri;  // --store
    std::string artifacts;  // Directory.
  };
  // The parts must outlive it.
  explicit Operations(Parts parts) : parts_(std::move(parts)) {}

  // CheckStore, and whose the artifacts are.
  absl::StatusOr<admin::v1::CheckReport> Check(const admin::v1::CheckRequest& request,
                                               const OperationProgress& progress);
  // BackUp. FAILED_PRECONDITION: one is under way. INVALID_ARGUMENT: the path is not absolute.
  absl::StatusOr<admin::v1::BackUpReport> MakeBackup(const admin::v1::BackUpRequest& request,
                                                     const OperationProgress& progress)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // LookForGarbage, or CollectNow.
  absl::StatusOr<admin::v1::CollectGarbageReport> Collect(
      const admin::v1::CollectGarbageRequest& request);

 private:
  const Parts parts_;
  Mutex mutex_;
  std::string backup_to_ ABSL_GUARDED_BY(mutex_);  // Of the backup under way.
};

}  // namespace graft
