#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace graft {

// Lets this process, and those that it starts, open as many descriptors as it may: each connection
// is one, and the usual soft limit of 1,024 is there for programs that use select(). Returns how
// many that are.
absl::StatusOr<int64_t> RaiseDescriptorLimit();

}  // namespace graft
