#include "worker/engine/gpt2/tensor_memory.h"
#include "worker/engine/gpt2/tensor_limit.h"

#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <gmock/gmock.h>

#include <string>

#include "worker/engine/failure.h"
#include "worker/engine/gpt2/runtime.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMegabyte = 1'000'000;

class TensorMemoryTest : public ::testing::Test {
 protected:
  TensorMemoryTest() { CountCpuTensors(); }
  ~TensorMemoryTest() override { LimitCpuTensors(0); }
  static TensorMemory Memory() { return TensorMemoryOf(at::kCPU); }
};

TEST_F(TensorMemoryTest, TensorsAreCountedAsTheyComeAndGo) {
  const int64_t before = Memory().used_bytes;
  ResetPeak(at::kCPU);
  {
    const at::Tensor one = at::empty({3 * kMegabyte}, at::kByte);
    EXPECT_GE(Memory().used_bytes, before + 3 * kMegabyte);
    EXPECT_LT(Memory().used_bytes, before + 4 * kMegabyte);
    const at::Tensor view = one.narrow(0, 0, 5);
    const at::Tensor copy = one.clone();
  }
  EXPECT_EQ(Memory().used_bytes, before);
  EXPECT_GE(Memory().peak_bytes, before + 6 * kMegabyte);
  ResetPeak(at::kCPU);
  EXPECT_EQ(Memory().peak_bytes, before);
  EXPECT_EQ(Memory().limit_bytes, 0);
}

// What oneDNN takes for itself comes by the raw calls.
TEST_F(TensorMemoryTest, RawBlocksAreCountedAndAligned) {
  const int64_t before = Memory().used_bytes;
  void* const block = c10::GetCPUAllocator()->raw_allocate(kMegabyte);
  EXPECT_GE(Memory().used_bytes, before + kMegabyte);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 64, 0u);
  c10::GetCPUAllocator()->raw_deallocate(block);
  EXPECT_EQ(Memory().used_bytes, before);
  EXPECT_EQ(at::empty({0}).numel(), 0);
}

TEST_F(TensorMemoryTest, ATensorBeyondTheLimitIsRefusedWithFigures) {
  LimitCpuTensors(Memory().used_bytes + 10 * kMegabyte);
  const at::Tensor fits = at::empty({6 * kMegabyte}, at::kByte);
  const int64_t used = Memory().used_bytes;
  const absl::Status refused = CatchTorchErrors([] {
    at::empty({5 * kMegabyte}, at::kByte);
    return absl::OkStatus();
  });
  EXPECT_TRUE(IsOutOfMemory(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("out of memory: 5.0 MB more than "));
  EXPECT_THAT(std::string(refused.message()), HasSubstr(" are there for tensors"));
  EXPECT_EQ(Memory().used_bytes, used);
  EXPECT_EQ(at::empty({3 * kMegabyte}, at::kByte).numel(), 3 * kMegabyte);
}

TEST_F(TensorMemoryTest, OfABudgetTensorsHaveWhatTheProcessDoesNotHoldBesides) {
  constexpr int64_t kBudget = 4'000 * kMegabyte;
  SetMemoryBudget(at::kCPU, kBudget);
  const int64_t limit = Memory().limit_bytes;
  EXPECT_GT(limit, kBudget / 2);
  EXPECT_LT(limit, kBudget);
  EXPECT_EQ(Memory().budget_bytes, kBudget);
  const std::string besides(static_cast<size_t>(200 * kMegabyte), 'x');
  const at::Tensor tensor = at::ones({100 * kMegabyte}, at::kByte);  // Not besides.
  SetMemoryBudget(at::kCPU, kBudget);
  // Nearly: the heap has pages that are not there, and pieces between tensors.
  EXPECT_NEAR(static_cast<double>(limit - Memory().limit_bytes), 200e6, 80e6);
  SetMemoryBudget(at::kCPU, 1);  // Less than it holds: no tensor fits, and none is no bound.
  EXPECT_EQ(Memory().limit_bytes, 1);
  SetMemoryBudget(at::kCPU, 0);
  EXPECT_EQ(Memory().limit_bytes, 0);
}

}  // namespace
}  // namespace graft
