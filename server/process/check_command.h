#pragma once

#include "absl/status/status.h"
#include "server/process/server_flags.h"

namespace graft {

// `graft-server check`: prints whose the artifacts are, what the store's id is, and how many blobs
// the store names; with check_adopt it then makes the artifacts the store's.
// FAILED_PRECONDITION: a server has the data or the store open; or the artifacts are another
// store's, and are not adopted. NOT_FOUND: there is no such store. INVALID_ARGUMENT: a flag, or
// memory:, which has nothing to check.
absl::Status CheckData(ServerFlags flags);

}  // namespace graft
