#pragma once

#include <string>
#include <vector>

namespace graft {

// Cores that this process may keep busy: those of its CPU affinity, SMT siblings of one core
// counted once where the machine shows them, and no more than the quotas of its control groups (v1
// and v2; rounded down). At least 1.
int UsableCores();

// The same for the CPUs `affinity`, with the files of /proc and /sys below `root`.
int UsableCoresOf(const std::vector<int>& affinity, const std::string& root);

}  // namespace graft
