#pragma once

// How LibTorch is set up in an engine process, and the boundary at which its exceptions end.

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/engine_spec.h"

namespace graft {

// Call once, before any tensor is made. Fixes the number of CPU threads (sums depend on it), allows
// deterministic kernels only (others throw), and tells glibc to keep freed blocks: giving large
// ones back to the kernel on every free costs a third of the speed. Tensors are counted from here
// on (tensor_memory.h).
void ConfigureRuntime(int threads);

// "cpu", "cuda", "cuda:N", or "auto": the first GPU if LibTorch sees one, else the CPU.
// INVALID_ARGUMENT for anything else; FAILED_PRECONDITION when there is no such GPU.
absl::StatusOr<c10::Device> ResolveDevice(const std::string& name);

// "cpu"; of a GPU all that its bits depend on: "cuda:0 NVIDIA H100 80GB HBM3, driver 13000, CUDA
// 13000". What cannot be found out is empty or 0.
std::string DescribeDevice(c10::Device device);

// The same without what changes from one start to the next, as an Execution names it: "cpu", or the
// GPU's model, "NVIDIA H100 80GB HBM3"; "cuda" where that cannot be found out.
std::string DeviceModel(c10::Device device);

// Of a GPU; 0 where it cannot be found out.
int64_t GpuMemoryBytes(c10::Device device);

// Does the hardware multiply bf16 natively (AVX512_BF16 or AMX; compute capability ≥ 8.0)?
bool HasNativeBf16(c10::Device device);

// kAuto becomes bf16 where that is native, else fp32.
c10::ScalarType ResolvePrecision(Precision precision, c10::Device device);
// "fp32", "bf16", "fp64".
const char* PrecisionName(c10::ScalarType dtype);

// Gives freed memory back to the system: what glibc keeps, and the blocks that a GPU's allocator
// caches. Takes milliseconds for each GB.
void ReleaseFreeMemory(c10::Device device);

// Runs `body`; what LibTorch throws becomes a Status: RESOURCE_EXHAUSTED, marked
// FailureClass kOutOfMemory, when memory ran out (the CPU's allocator too), INTERNAL for everything
// else. After any other CUDA error the process must end: such errors stick.
absl::Status CatchTorchErrors(const std::function<absl::Status()>& body);

}  // namespace graft
