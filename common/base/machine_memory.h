#pragma once

#include <cstdint>
#include <string>

namespace graft {

// Bytes of memory that this process may use: the machine's, or the least limit of its control
// groups (v1 and v2) and of its own (ulimit). 0: not known.
int64_t MachineMemoryBytes();

// The same without its own, with the files of /proc and /sys below `root`.
int64_t MachineMemoryBytesOf(const std::string& root);

// Processes of this one's control group that the kernel ended for want of memory, as the innermost
// group that says so counts them (v1 and v2); 0 where none does. `root` as above.
int64_t OomKillCount(const std::string& root);

// What each of `engines` engines may hold of a machine's memory: 1 GiB stays for everything else,
// or half of a machine that has less than 2. 0: machine_bytes is 0, not known.
int64_t EngineMemoryBudget(int64_t machine_bytes, int64_t engines);

}  // namespace graft
