#include "worker/engine/gpt2/runtime.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/cpu/Utils.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>
#include <malloc.h>

#include <cstdlib>
#include <new>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "worker/engine/failure.h"
#include "worker/engine/gpt2/tensor_memory.h"

namespace graft {
namespace {

// Freed memory is kept up to this size; beyond, the top of the heap goes back to the kernel.
constexpr int kTrimThresholdBytes = 1 << 30;

bool CpuHas(const char* capability) {
  const auto capabilities = at::cpu::get_cpu_capabilities();
  const auto found = capabilities.find(capability);
  return found != capabilities.end() && found->second.isBool() && found->second.toBool();
}

// The CUDA runtime that LibTorch brought along is asked by name: its headers are not needed to
// build. What is not there, or fails, is 0.
int CudaComputeMajor(int index) {
  using GetAttribute = int (*)(int* value, int attribute, int device);
  constexpr int kComputeCapabilityMajor = 75;  // cudaDevAttrComputeCapabilityMajor
  const auto get = reinterpret_cast<GetAttribute>(dlsym(RTLD_DEFAULT, "cudaDeviceGetAttribute"));
  int major = 0;
  return get != nullptr && get(&major, kComputeCapabilityMajor, index) == 0 ? major : 0;
}

// Of cudaDriverGetVersion, cudaRuntimeGetVersion: 13000 is 13.0.
int CudaVersion(const char* function) {
  const auto get = reinterpret_cast<int (*)(int* version)>(dlsym(RTLD_DEFAULT, function));
  int version = 0;
  return get != nullptr && get(&version) == 0 ? version : 0;
}

// The driver's library is there when there is a GPU; the runtime has opened it already.
std::string CudaDeviceName(int index) {
  using GetName = int (*)(char* name, int size, int device);
  constexpr int kMaxNameBytes = 256;
  char name[kMaxNameBytes] = "";
  void* driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
  if (driver == nullptr) return name;
  const auto get = reinterpret_cast<GetName>(dlsym(driver, "cuDeviceGetName"));
  if (get == nullptr || get(name, kMaxNameBytes, index) != 0) name[0] = '\0';
  dlclose(driver);
  return name;
}

int64_t CudaDeviceMemory(int index) {
  using GetDevice = int (*)(int* device, int ordinal);
  using GetTotal = int (*)(size_t * bytes, int device);
  void* driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
  if (driver == nullptr) return 0;
  const auto get_device = reinterpret_cast<GetDevice>(dlsym(driver, "cuDeviceGet"));
  const auto get_total = reinterpret_cast<GetTotal>(dlsym(driver, "cuDeviceTotalMem_v2"));
  int device = 0;
  size_t bytes = 0;
  const bool known = get_device != nullptr && get_total != nullptr &&
                     get_device(&device, index) == 0 && get_total(&bytes, device) == 0;
  dlclose(driver);
  return known ? static_cast<int64_t>(bytes) : 0;
}

// Marked, since a full disk has the same code.
absl::Status OutOfMemory(absl::string_view message) {
  return WithFailureClass(absl::ResourceExhaustedError(message), FailureClass::kOutOfMemory);
}

}  // namespace

void ConfigureRuntime(int threads) {
  CountCpuTensors();
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, kTrimThresholdBytes);
  mallopt(M_TOP_PAD, 64 << 20);
  // Read by cuBLAS when CUDA starts; without it its sums are not deterministic.
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  // Read by oneDNN when it multiplies first. What it compiled for a shape takes about a megabyte,
  // and an engine that stays meets ever new lengths: 1,024 shapes are kept otherwise.
  setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128", /*overwrite=*/0);
  at::set_num_threads(threads);
  // With warn_only the backward passes of CUDA's attention kernels would go on using atomics.
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  // Otherwise every fresh tensor would be filled with NaN first.
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

absl::StatusOr<c10::Device> ResolveDevice(const std::string& name) {
  if (name == "cpu") return c10::Device(c10::kCPU);
  const int count =
      at::globalContext().hasCUDA()
          ? static_cast<int>(
                at::globalContext().getAcceleratorHooksInterface(c10::kCUDA).deviceCount())
          : 0;
  if (name == "auto" || name.empty()) {
    return count > 0 ? c10::Device(c10::kCUDA, 0) : c10::Device(c10::kCPU);
  }
  absl::string_view rest = name;
  int index = 0;
  if (!absl::ConsumePrefix(&rest, "cuda") ||
      (!rest.empty() && (!absl::ConsumePrefix(&rest, ":") || !absl::SimpleAtoi(rest, &index)))) {
    return absl::InvalidArgumentError(
        absl::StrCat("device: \"", name, "\" is none of auto, cpu, cuda, cuda:N"));
  }
  if (index < 0 || index >= count) {
    return absl::FailedPreconditionError(
        absl::StrCat("device: ", name, " is not there; this engine sees ", count, " GPUs"));
  }
  return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
}

std::string DescribeDevice(c10::Device device) {
  if (!device.is_cuda()) return device.str();
  return absl::StrCat(device.str(), " ", CudaDeviceName(device.index()), ", driver ",
                      CudaVersion("cudaDriverGetVersion"), ", CUDA ",
                      CudaVersion("cudaRuntimeGetVersion"));
}

std::string DeviceModel(c10::Device device) {
  if (!device.is_cuda()) return device.str();
  const std::string name = CudaDeviceName(device.index());
  return name.empty() ? "cuda" : name;
}

int64_t GpuMemoryBytes(c10::Device device) {
  return device.is_cuda() ? CudaDeviceMemory(device.index()) : 0;
}

bool HasNativeBf16(c10::Device device) {
  if (device.is_cuda()) return CudaComputeMajor(device.index()) >= 8;
  return CpuHas("avx512_bf16") || CpuHas("amx_bf16");
}

c10::ScalarType ResolvePrecision(Precision precision, c10::Device device) {
  switch (precision) {
    case Precision::kFp32:
      return c10::ScalarType::Float;
    case Precision::kBf16:
      return c10::ScalarType::BFloat16;
    case Precision::kFp64:
      return c10::ScalarType::Double;
    case Precision::kAuto:
      break;
  }
  return HasNativeBf16(device) ? c10::ScalarType::BFloat16 : c10::ScalarType::Float;
}

const char* PrecisionName(c10::ScalarType dtype) {
  if (dtype == c10::ScalarType::Double) return "fp64";
  return dtype == c10::ScalarType::BFloat16 ? "bf16" : "fp32";
}

void ReleaseFreeMemory(c10::Device device) {
  ReleaseCpuTensors();
  // Until CUDA has started, its allocator is none yet.
  if (!device.is_cuda() || !at::globalContext().hasCUDA()) return;
  auto* const allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()));
  if (allocator == nullptr || !allocator->initialized()) return;
  // It says nothing of use: an error of CUDA shows itself in the next request.
  CatchTorchErrors([&] {
    allocator->emptyCache();
    return absl::OkStatus();
  }).IgnoreError();
}

absl::Status CatchTorchErrors(const std::function<absl::Status()>& body) {
  try {
    return body();
  } catch (const c10::OutOfMemoryError& error) {
    const absl::string_view text = error.what_without_backtrace();
    const bool of_gpu = absl::StartsWith(text, "CUDA");
    return OutOfMemory(absl::StrCat(of_gpu ? "out of GPU memory: " : "out of memory: ", text));
  } catch (const c10::Error& error) {
    const absl::string_view text = error.what_without_backtrace();
    // The CPU's allocator, cuBLAS and cuDNN throw plain errors; the text is all there is to tell
    // them by. cuBLAS cannot be initialised where there is no room for its workspace.
    if (absl::StrContains(text, "DefaultCPUAllocator")) {
      return OutOfMemory(absl::StrCat("out of memory: ", text));
    }
    for (const char* failure : {"CUBLAS_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED",
                                "CUDNN_STATUS_ALLOC_FAILED", "CUDA error: out of memory"}) {
      if (!absl::StrContains(text, failure)) continue;
      return OutOfMemory(absl::StrCat("out of GPU memory: ", text));
    }
    return absl::InternalError(absl::StrCat("LibTorch: ", text));
  } catch (const std::bad_alloc&) {
    return OutOfMemory("out of memory");
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

}  // namespace graft
