#pragma once

// graft-server check, backup, restore and gc: what they print is here, what they do in
// server/operations. Where a server runs on flags.data it does the work.

#include "absl/status/status.h"
#include "server/process/server_flags.h"

namespace graft {

// Prints whose the artifacts are, what the store's id is, and how many blobs the store names, and
// each problem by a line; with check_adopt (while no server runs) it then makes the artifacts the
// store's. DATA_LOSS: there are problems. FAILED_PRECONDITION: the artifacts are another store's,
// and are not adopted. Codes of OpenData.
absl::Status CheckData(ServerFlags flags);

// Makes flags.backup_to a backup. DATA_LOSS: it is made, and the server had not all that its store
// names. Codes of OpenData and BackUp.
absl::Status BackUpData(ServerFlags flags);

// Makes flags.data from the backup flags.restore_from. Codes of Restore; INVALID_ARGUMENT: --store
// or --artifacts, which it has no use for.
absl::Status RestoreData(ServerFlags flags);

// Says what a collection would delete, or (without collect_dry_run) collects. Codes of OpenData.
absl::Status CollectData(ServerFlags flags);

}  // namespace graft
