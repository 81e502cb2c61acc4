#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "common/base/process_lock.h"
#include "server/process/server_flags.h"

namespace graft {

// Makes the data and artifacts directories and locks them for as long as the locks live.
// FAILED_PRECONDITION: another graft-server has one. Codes of common/base/file.h.
absl::StatusOr<std::vector<ProcessLock>> LockDirectories(const ServerFlags& flags);

}  // namespace graft
