#pragma once

#include <cstdint>
#include <string>

namespace graft {

// Bytes of memory that this process may use: the machine's, or the least limit of its control
// groups (v1 and v2). 0: not known.
int64_t MachineMemoryBytes();

// The same with the files of /proc and /sys below `root`.
int64_t MachineMemoryBytesOf(const std::string& root);

}  // namespace graft
