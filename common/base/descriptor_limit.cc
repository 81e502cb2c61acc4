#include "common/base/descriptor_limit.h"

#include <algorithm>
#include <cerrno>
#include <limits>

#include "common/base/file.h"

namespace graft {

int DescriptorCount(rlim_t limit) {
  return static_cast<int>(std::min<rlim_t>(limit, std::numeric_limits<int>::max()));
}

DescriptorLimit RaiseDescriptorLimit() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return {kUsualDescriptors, FileError(errno, "read", "RLIMIT_NOFILE")};
  }
  if (limit.rlim_cur == limit.rlim_max) return {DescriptorCount(limit.rlim_cur), absl::OkStatus()};
  const rlim_t present = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return {DescriptorCount(present), FileError(errno, "raise", "RLIMIT_NOFILE")};
  }
  return {DescriptorCount(limit.rlim_cur), absl::OkStatus()};
}

}  // namespace graft
