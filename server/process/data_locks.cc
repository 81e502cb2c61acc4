#include "server/process/data_locks.h"

#include <string>
#include <utility>

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "server/operations/data_directory.h"

namespace graft {

absl::StatusOr<std::vector<ProcessLock>> LockDirectories(const ServerFlags& flags) {
  std::vector<ProcessLock> locks;
  for (const std::string& directory : {flags.data, flags.artifacts}) {
    RETURN_IF_ERROR(CreateDirectories(directory));
    if (!locks.empty() && flags.artifacts == flags.data) continue;
    ASSIGN_OR_RETURN(ProcessLock lock, ProcessLock::Acquire(JoinPath(directory, kServerLockName),
                                                            directory, "graft-server"));
    locks.push_back(std::move(lock));
  }
  return locks;
}

}  // namespace graft
