#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/operations/backup_manifest.h"
#include "server/operations/operation_progress.h"

namespace graft {

// Makes the directory `data`, which is not there or empty, the data of a server again: a copy of
// the backup `from` (never links: what a server has is its own), each byte compared on its way. It
// has graft.db, and so is a server's, only once all is there; before, what is written lies in
// data/restore.partial. Lease epochs begin anew (BeginNewLeaseEpochs). Returns what the backup says
// of itself.
//
// FAILED_PRECONDITION: a server uses `data`, or a newer graft made the backup. ALREADY_EXISTS: it
// is not empty. NOT_FOUND: `from` is no backup. DATA_LOSS: it was changed, or lacks something.
// RESOURCE_EXHAUSTED (DISK_FULL): there is no room, told before anything is written. CANCELLED:
// `progress` said so. Codes of common/base/file.h. After an error nothing of it is left.
absl::StatusOr<BackupManifest> Restore(const std::string& from, const std::string& data,
                                       const OperationProgress& progress);

}  // namespace graft
