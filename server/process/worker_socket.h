#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "common/base/process_lock.h"
#include "server/process/server_flags.h"

namespace graft {

// A server that listens at a Unix socket takes its path from whoever listened there before, and
// with it his workers. So PATH.lock says who has the path: FAILED_PRECONDITION names the process.
// Nothing for an address of the network, where the system refuses. Codes of common/base/file.h.
absl::StatusOr<std::optional<ProcessLock>> LockWorkerSocket(const ServerFlags& flags);

}  // namespace graft
