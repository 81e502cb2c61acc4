#pragma once

// Backups of a server's data, made while it is at work:
//
//   hold deletions ──▶ store (one moment) ──▶ blobs that it names ──▶ logs ──▶ BACKUP ──▶ rename
//
// A blob never changes, and none is deleted until the end; so what the copied store names is there.

#include <string>

#include "absl/status/statusor.h"
#include "common/blobs/file_blob_store.h"
#include "graft/admin/v1/admin.pb.h"
#include "server/operations/operation_progress.h"
#include "server/store/job_store.h"

namespace graft {

struct BackupPlan {
  std::string to;         // Absolute; not there, or empty.
  std::string artifacts;  // Directory of `blobs`, of logs and STORE.
  std::string store;      // --store, for its size.
};

// Makes the directory plan.to a backup. Blobs become hard links where they can, so that they cost
// nothing; where `to` is on another file system, links of an earlier backup beside it, once their
// bytes were compared; else copies. All is synced. What the store names and the server has not, or
// corrupt, is told in the report: the rest is backed up all the same.
// RESOURCE_EXHAUSTED (DISK_FULL): there is no room, told before anything is written. DATA_LOSS: the
// store is damaged. CANCELLED: `progress` said so. Codes of PartialDirectory and
// common/base/file.h. After an error `to` is as it was.
absl::StatusOr<admin::v1::BackUpReport> BackUp(JobStore& store, FileBlobStore& blobs,
                                               const BackupPlan& plan,
                                               const OperationProgress& progress);

}  // namespace graft
