#pragma once

// How much memory tensors take, and how much they may.

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

namespace graft {

// From here on the CPU's tensors are counted as they come and go, and large ones have blocks of a
// BlockCache. Those that are there already are not, so call it before any other thing; calling it
// again changes nothing.
void CountCpuTensors();
// Gives back to the system what is kept of freed tensors of the CPU.
void ReleaseCpuTensors();

// Bounds what the process may hold on `device` to `bytes`; 0: no bound. On the CPU its tensors may
// take what it does not hold besides (code and files that are mapped do not count: the kernel can
// drop them); that is looked at now, so call it anew when much was read. A tensor beyond the bound
// throws c10::OutOfMemoryError. On a GPU it is a share of its memory, and holds when the first
// call comes before the first tensor there.
void SetMemoryBudget(c10::Device device, int64_t bytes);

struct TensorMemory {
  int64_t used_bytes = 0;    // Now.
  int64_t peak_bytes = 0;    // The most since ResetPeak.
  int64_t limit_bytes = 0;   // What they may take. 0: not known.
  int64_t budget_bytes = 0;  // As it was set: with what the process holds besides.

  // "1.2 GB of tensors may be there in a budget of 2.0 GB, of which the process holds 0.8 GB
  // besides"; of a GPU "80 GB".
  std::string LimitText() const;
};
// Of a GPU the caching allocator's numbers.
TensorMemory TensorMemoryOf(c10::Device device);
void ResetPeak(c10::Device device);
// What the process holds on the device besides: 0 on a GPU. As SetMemoryBudget reckons it.
int64_t BytesBesideTensors(c10::Device device);
// What the process has of the machine's memory for itself, what it has freed and keeps included; 0
// for a GPU.
int64_t BytesHeld(c10::Device device);

}  // namespace graft
