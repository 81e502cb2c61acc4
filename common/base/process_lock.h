#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace graft {

// A lock file: while one process has it, no other gets it; a process that dies gives it back. The
// file holds its owner's process id (nothing, where the disk was full), for messages and for
// `graft-server stop`, and stays.
class ProcessLock {
 public:
  // FAILED_PRECONDITION: another process has it: "<what> is in use by another <program> (process
  // 17)". Codes of common/base/file.h.
  static absl::StatusOr<ProcessLock> Acquire(const std::string& path, const std::string& what,
                                             const std::string& program);
  // Who has it now; 0: nobody, or (where it IsLocked) nobody knows.
  static pid_t OwnerOf(const std::string& path);

 private:
  explicit ProcessLock(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

// Is the file locked by any process, whatever it holds?
bool IsLocked(const std::string& path);

}  // namespace graft
