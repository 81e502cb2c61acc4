#pragma once

#include <sys/resource.h>

#include "absl/status/status.h"

namespace graft {

// The soft limit that most systems set, for programs that use select().
inline constexpr int kUsualDescriptors = 1024;

struct DescriptorLimit {
  // So many this process may open now.
  int count = kUsualDescriptors;
  // Why it stays at what it was: the system refuses a hard limit above its fs.nr_open.
  absl::Status status;
};

// Lets this process, and those that it starts, open as many descriptors as it may: each connection
// is one.
DescriptorLimit RaiseDescriptorLimit();

// `limit` as a count; RLIM_INFINITY is as many as a number can say.
int DescriptorCount(rlim_t limit);

}  // namespace graft
