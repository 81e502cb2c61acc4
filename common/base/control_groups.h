#pragma once

// Where Linux says how much of the machine this process may have (control groups, v1 and v2).

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace graft {

// Directories of the control group that this process is in for `controller` ("cpu", "memory"), and
// of all that it is in, the innermost first; v1's and v2's where a machine has both. Their files
// differ: v2 has cpu.max and memory.max, v1 cpu.cfs_quota_us and memory.limit_in_bytes. `root`: "/"
// but in tests. Empty where there are none to see.
std::vector<std::string> ControlGroups(absl::string_view controller, const std::string& root);

}  // namespace graft
