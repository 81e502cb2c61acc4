#include "common/base/links.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace graft {

absl::Status LinkByName(const std::string& target, const std::string& path) {
  const FailpointsAround step("file", "symlink");
  if (::symlink(target.c_str(), path.c_str()) != 0) return FileError(errno, "make the link", path);
  return absl::OkStatus();
}

absl::Status ExchangeAndSync(const std::string& one, const std::string& other) {
  {
    const FailpointsAround step("file", "exchange");
    if (::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) != 0) {
      return FileError(errno, absl::StrCat("exchange ", one, " with"), other);
    }
  }
  const std::string directory = DirectoryOf(one);
  RETURN_IF_ERROR(SyncDirectory(directory));
  return DirectoryOf(other) == directory ? absl::OkStatus() : SyncDirectory(DirectoryOf(other));
}

}  // namespace graft
