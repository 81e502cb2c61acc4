#include "worker/engine/gpt2/tensor_memory.h"

#include <ATen/Context.h>
#include <c10/core/Allocator.h>
#include <c10/core/AllocatorConfig.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/util/Exception.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/byte_text.h"
#include "common/base/file.h"
#include "worker/engine/gpt2/block_cache.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/gpt2/tensor_limit.h"

namespace graft {
namespace {

// LibTorch's allocator of the CPU for small tensors and a BlockCache for large ones, with a count
// of what was given out. Small blocks know their size (malloc_usable_size), so nothing is written
// beside them.
class CountingAllocator final : public c10::Allocator {
 public:
  explicit CountingAllocator(c10::Allocator& inner) : inner_(inner) {}

  c10::DataPtr allocate(size_t bytes) override {
    const int64_t limit = limit_.load(std::memory_order_relaxed);
    const int64_t used = used_.load(std::memory_order_relaxed);
    if (limit > 0 && bytes > static_cast<size_t>(std::max<int64_t>(0, limit - used))) {
      Refuse(bytes);
    }
    // As raw_allocate wants it, a block is its own context.
    void* data = nullptr;
    if (bytes >= BlockCache::kLeastBytes) {
      data = large_.Take(bytes);
      if (data == nullptr) Refuse(bytes);
      Add(static_cast<int64_t>(bytes));
      large_bytes_.fetch_add(static_cast<int64_t>(bytes), std::memory_order_relaxed);
    } else {
      data = inner_.allocate(bytes).release_context();
      Add(static_cast<int64_t>(malloc_usable_size(data)));
    }
    return {data, data, &Free, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &Free; }
  void copy_data(void* to, const void* from, size_t count) const override {
    default_copy_data(to, from, count);
  }

  int64_t used() const { return used_.load(std::memory_order_relaxed); }
  int64_t peak() const { return peak_.load(std::memory_order_relaxed); }
  int64_t limit() const { return limit_.load(std::memory_order_relaxed); }
  int64_t budget() const { return budget_.load(std::memory_order_relaxed); }
  // Of the heap alone.
  int64_t small_bytes() const { return used() - large_bytes_.load(std::memory_order_relaxed); }
  BlockCache& large() { return large_; }
  void ResetPeak() { peak_.store(used(), std::memory_order_relaxed); }
  void SetLimit(int64_t limit, int64_t budget) {
    limit_.store(limit, std::memory_order_relaxed);
    budget_.store(budget, std::memory_order_relaxed);
  }

 private:
  static void Free(void* data);

  void Add(int64_t bytes) {
    const int64_t now = used_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    int64_t peak = peak_.load(std::memory_order_relaxed);
    while (now > peak && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
    }
  }
  [[noreturn]] void Refuse(size_t bytes) const {
    const TensorMemory memory = {used(), peak(), limit(), budget()};
    TORCH_CHECK_WITH(OutOfMemoryError, false, FormatBytes(static_cast<int64_t>(bytes)),
                     " more than ", FormatBytes(memory.used_bytes), ": ", memory.LimitText());
    __builtin_unreachable();
  }

  c10::Allocator& inner_;
  BlockCache large_;
  std::atomic<int64_t> used_ = 0;
  std::atomic<int64_t> large_bytes_ = 0;  // As they were asked for.
  std::atomic<int64_t> peak_ = 0;
  std::atomic<int64_t> limit_ = 0;
  std::atomic<int64_t> budget_ = 0;
};

// The process's own, for as long as it lives: tensors may be freed when it ends. nullptr: nothing
// is counted.
std::atomic<CountingAllocator*> counting = nullptr;

void CountingAllocator::Free(void* data) {
  CountingAllocator& self = *counting.load(std::memory_order_relaxed);
  if (const auto bytes = static_cast<int64_t>(self.large_.Give(data)); bytes > 0) {
    self.used_.fetch_sub(bytes, std::memory_order_relaxed);
    self.large_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    return;
  }
  self.used_.fetch_sub(static_cast<int64_t>(malloc_usable_size(data)), std::memory_order_relaxed);
  self.inner_.raw_deallocate(data);
}

// Anonymous memory that is in the machine's.
int64_t ResidentBytes() {
  constexpr int64_t kMaxStatusBytes = 1 << 16;
  const std::string status = ReadFile("/proc/self/status", kMaxStatusBytes).value_or("");
  for (absl::string_view line : absl::StrSplit(status, '\n')) {
    int64_t kib = 0;
    if (absl::ConsumePrefix(&line, "RssAnon:") && absl::ConsumeSuffix(&line, "kB") &&
        absl::SimpleAtoi(line, &kib)) {
      return kib * 1024;
    }
  }
  return 0;
}

// What the process holds that is no tensor. What is kept of freed memory is there for tensors.
int64_t BytesBesideCpuTensors(CountingAllocator& allocator) {
  const int64_t tensors = allocator.small_bytes(), mapped = allocator.large().mapped_bytes();
  const struct mallinfo2 heap = mallinfo2();
  const auto in_use = static_cast<int64_t>(heap.uordblks);
  const auto free = static_cast<int64_t>(heap.fordblks);
  return std::max({int64_t{0}, in_use - tensors, ResidentBytes() - free - tensors - mapped});
}

c10::DeviceAllocator* GpuAllocator(c10::Device device) {
  // Until CUDA has started, its allocator is none yet.
  if (!at::globalContext().hasCUDA()) return nullptr;
  auto* const allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()));
  return allocator != nullptr && allocator->initialized() ? allocator : nullptr;
}

// Of a GPU, as SetMemoryBudget was told.
std::atomic<int64_t> gpu_budget = 0;

}  // namespace

void CountCpuTensors() {
  if (counting.load() != nullptr) return;
  auto* const allocator = new CountingAllocator(*c10::GetCPUAllocator());
  counting.store(allocator);
  c10::SetCPUAllocator(allocator, /*priority=*/1);
}

void ReleaseCpuTensors() {
  if (CountingAllocator* const allocator = counting.load()) allocator->large().Release();
  malloc_trim(0);
}

void LimitCpuTensors(int64_t bytes) {
  CountCpuTensors();
  counting.load()->SetLimit(bytes, 0);
}

void SetMemoryBudget(c10::Device device, int64_t bytes) {
  if (!device.is_cpu()) {
    const int64_t total = GpuMemoryBytes(device);
    gpu_budget = std::min(bytes, total);
    if (bytes <= 0 || bytes >= total) return;
    const double share = static_cast<double>(bytes) / static_cast<double>(total);
    // Where the allocator does not know it, the GPU's own end is the bound.
    CatchTorchErrors([&] {
      c10::CachingAllocator::setAllocatorSettings(
          absl::StrCat("per_process_memory_fraction:", share));
      return absl::OkStatus();
    }).IgnoreError();
    return;
  }
  CountingAllocator* const allocator = counting.load();
  if (allocator == nullptr) return;
  const int64_t beside = bytes > 0 ? BytesBesideCpuTensors(*allocator) : 0;
  allocator->SetLimit(bytes > 0 ? std::max<int64_t>(1, bytes - beside) : 0, bytes);
}

TensorMemory TensorMemoryOf(c10::Device device) {
  TensorMemory memory;
  if (device.is_cpu()) {
    const CountingAllocator* const allocator = counting.load();
    if (allocator == nullptr) return memory;
    return {allocator->used(), allocator->peak(), allocator->limit(), allocator->budget()};
  }
  memory.limit_bytes = gpu_budget > 0 ? gpu_budget.load() : GpuMemoryBytes(device);
  if (c10::DeviceAllocator* const allocator = GpuAllocator(device)) {
    const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    const c10::CachingAllocator::Stat bytes =
        allocator->getDeviceStats(device.index()).allocated_bytes[all];
    memory.used_bytes = bytes.current;
    memory.peak_bytes = bytes.peak;
  }
  return memory;
}

int64_t BytesBesideTensors(c10::Device device) {
  CountingAllocator* const allocator = counting.load();
  return device.is_cpu() && allocator != nullptr ? BytesBesideCpuTensors(*allocator) : 0;
}

int64_t BytesHeld(c10::Device device) { return device.is_cpu() ? ResidentBytes() : 0; }

void ResetPeak(c10::Device device) {
  if (device.is_cpu()) {
    if (CountingAllocator* const allocator = counting.load()) allocator->ResetPeak();
  } else if (c10::DeviceAllocator* const allocator = GpuAllocator(device)) {
    allocator->resetPeakStats(device.index());
  }
}

std::string TensorMemory::LimitText() const {
  if (budget_bytes == 0) return absl::StrCat(FormatBytes(limit_bytes), " are there for tensors");
  return absl::StrCat("of a budget of ", FormatBytes(budget_bytes), " the process holds ",
                      FormatBytes(budget_bytes - limit_bytes), " besides, and ",
                      FormatBytes(limit_bytes), " are there for tensors");
}

}  // namespace graft
