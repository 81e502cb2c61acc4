#include "server/process/worker_socket.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"

namespace graft {

absl::StatusOr<std::optional<ProcessLock>> LockWorkerSocket(const ServerFlags& flags) {
  absl::string_view path = flags.worker_listen;
  if (!absl::ConsumePrefix(&path, "unix:")) return std::nullopt;
  ASSIGN_OR_RETURN(ProcessLock lock,
                   ProcessLock::Acquire(absl::StrCat(path, ".lock"),
                                        absl::StrCat("--worker-listen ", path), "graft-server"));
  return std::optional<ProcessLock>(std::move(lock));
}

}  // namespace graft
