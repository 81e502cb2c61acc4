#include "worker/engine/gpt2/runtime.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fakes/temp_dir.h"
#include "tests/worker/engine/golden.h"
#include "worker/engine/failure.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(RuntimeTest, UnknownDevicesAreRefusedByName) {
  EXPECT_EQ(*ResolveDevice("cpu"), c10::Device(c10::kCPU));
  EXPECT_EQ(ResolveDevice("tpu").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ResolveDevice("cuda:x").status().code(), absl::StatusCode::kInvalidArgument);
  const absl::Status missing = ResolveDevice("cuda:99").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(missing.message(), HasSubstr("cuda:99"));
}

TEST(RuntimeTest, OnlyDeterministicKernelsAreAllowed) {
  ConfigureRuntime(1);
  EXPECT_TRUE(at::globalContext().deterministicAlgorithms());
  EXPECT_FALSE(at::globalContext().deterministicAlgorithmsWarnOnly());
  EXPECT_STREQ(std::getenv("CUBLAS_WORKSPACE_CONFIG"), ":4096:8");
}

TEST(RuntimeTest, TheCpuIsDescribedByItsNameAlone) {
  EXPECT_EQ(DescribeDevice(c10::kCPU), "cpu");
  EXPECT_THAT(DescribeDevice(c10::Device(c10::kCUDA, 1)), StartsWith("cuda:1 "));
}

TEST(RuntimeTest, AutoPrecisionIsBf16OnlyWhereItIsNative) {
  EXPECT_EQ(ResolvePrecision(Precision::kFp64, c10::kCPU), at::kDouble);
  EXPECT_EQ(ResolvePrecision(Precision::kAuto, c10::kCPU),
            HasNativeBf16(c10::kCPU) ? at::kBFloat16 : at::kFloat);
}

TEST(RuntimeTest, WhatLibTorchThrowsBecomesAStatus) {
  const absl::Status internal = CatchTorchErrors([]() -> absl::Status {
    at::mm(at::zeros({2, 3}), at::zeros({2, 3}));
    return absl::OkStatus();
  });
  EXPECT_EQ(internal.code(), absl::StatusCode::kInternal);
  const absl::Status memory = CatchTorchErrors([]() -> absl::Status {
    at::empty({int64_t{1} << 60}, at::kFloat);
    return absl::OkStatus();
  });
  EXPECT_EQ(memory.code(), absl::StatusCode::kResourceExhausted) << memory;
  EXPECT_EQ(CatchTorchErrors([] { return absl::NotFoundError("x"); }).code(),
            absl::StatusCode::kNotFound);
  // As cuBLAS tells of it through LibTorch.
  const absl::Status gpu_memory = CatchTorchErrors([]() -> absl::Status {
    TORCH_CHECK(false,
                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`");
  });
  EXPECT_EQ(gpu_memory.code(), absl::StatusCode::kResourceExhausted) << gpu_memory;
  EXPECT_EQ(FailureClassOf(gpu_memory), FailureClass::kOutOfMemory);
}

TEST(ModelTest, ParametersAreCountedOnce) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  EXPECT_TRUE(model->head_is_tied());
  Gpt2Network network = model->network();
  int64_t count = 0;
  for (const NamedTensor& named : NamedTensors(network, /*with_lm_head=*/false)) {
    count += named.tensor->numel();
  }
  EXPECT_EQ(model->num_parameters(), count);
}

TEST(ModelTest, WeightsThatAreNotFiniteAreRefusedByName) {
  const TempDir directory;
  const std::string folder = directory.Path("nan_model");
  absl::StatusOr<ModelFolder> source = ModelFolder::Open(GoldenPath("model"));
  ASSERT_TRUE(source.ok());
  std::vector<TensorInfo> infos(source->tensors().begin(), source->tensors().end());
  at::Tensor copy;
  const absl::Status written = WriteModelFolder(
      folder, source->config(), infos,
      [&](const TensorInfo& info) -> absl::StatusOr<std::span<const std::byte>> {
        copy = *TensorFromView(*source->Find(info.name));
        if (info.name == "h.1.mlp.c_fc.bias") copy[3] = std::nan("");
        return BytesOf(copy);
      },
      "");
  ASSERT_TRUE(written.ok()) << written;
  const absl::Status status = Gpt2Model::Load(folder, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("h.1.mlp.c_fc.bias"));
}

}  // namespace
}  // namespace graft
