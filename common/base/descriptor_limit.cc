#include "common/base/descriptor_limit.h"

#include <sys/resource.h>

#include <cerrno>

#include "common/base/file.h"

namespace graft {

absl::StatusOr<int64_t> RaiseDescriptorLimit() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return FileError(errno, "read", "RLIMIT_NOFILE");
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return FileError(errno, "raise", "RLIMIT_NOFILE");
  return static_cast<int64_t>(limit.rlim_cur);
}

}  // namespace graft
