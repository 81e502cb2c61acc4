#include "common/base/process_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

pid_t PidIn(const std::string& path) {
  const auto text = ReadFile(path, 64);
  int32_t pid = 0;
  if (!text.ok() || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &pid)) return 0;
  return pid;
}

}  // namespace

absl::StatusOr<ProcessLock> ProcessLock::Acquire(const std::string& path, const std::string& what,
                                                 const std::string& program) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return FileError(errno, "lock", path);
    const pid_t pid = PidIn(path);
    return absl::FailedPreconditionError(
        absl::StrCat(what, " is in use by another ", program,
                     pid != 0 ? absl::StrCat(" (process ", pid, ")") : std::string()));
  }
  // A full disk costs the name of whoever has the lock, and not the lock.
  (void)!::ftruncate(fd.get(), 0);
  WriteAll(fd.get(), absl::StrCat(::getpid(), "\n"), path).IgnoreError();
  return ProcessLock(std::move(fd));
}

bool IsLocked(const std::string& path) {
  const auto fd = OpenFile(path, O_RDWR);
  if (!fd.ok()) return false;
  // Got means free; the descriptor's end gives it back.
  return ::flock(fd->get(), LOCK_EX | LOCK_NB) != 0;
}

pid_t ProcessLock::OwnerOf(const std::string& path) { return IsLocked(path) ? PidIn(path) : 0; }

}  // namespace graft
