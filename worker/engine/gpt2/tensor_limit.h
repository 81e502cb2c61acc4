#pragma once

#include <cstdint>

namespace graft {

// What the CPU's tensors may take (SetMemoryBudget of tensor_memory.h reckons it from a budget),
// for tests; 0: no bound.
void LimitCpuTensors(int64_t bytes);

}  // namespace graft
