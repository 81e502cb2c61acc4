#include "worker/engine/gpt2/tensor_io.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

namespace graft {
namespace {

using ::testing::HasSubstr;

// `tensor` as a file holds it.
TensorView ViewOf(const at::Tensor& tensor) {
  TensorView view;
  static_cast<TensorInfo&>(view) = InfoOf("weight", tensor);
  view.bytes = BytesOf(tensor);
  return view;
}

absl::StatusOr<at::Tensor> Weight(const at::Tensor& stored, at::ScalarType dtype) {
  return WeightFromView(ViewOf(stored), dtype, at::kCPU, [] {});
}

// Of several pieces, the last one not whole.
at::Tensor Large(at::ScalarType dtype) {
  return at::linspace(-3, 3, 5'000'003, at::kFloat).to(dtype).view({-1, 1});
}

TEST(TensorIoTest, AWeightIsThatOfTheFileInTheTypeThatIsWanted) {
  for (const at::ScalarType stored : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const at::Tensor file = Large(stored);
    for (const at::ScalarType wanted : {at::kFloat, at::kBFloat16, at::kDouble}) {
      int pieces = 0;
      const auto weight = WeightFromView(ViewOf(file), wanted, at::kCPU, [&] { ++pieces; });
      ASSERT_TRUE(weight.ok()) << weight.status();
      EXPECT_TRUE(at::equal(*weight, file.to(wanted))) << stored << " to " << wanted;
      EXPECT_EQ(weight->scalar_type(), wanted);
      EXPECT_GT(pieces, 2);
    }
  }
}

TEST(TensorIoTest, AWeightThatIsNotFiniteIsNamedWhereverItsValueStands) {
  for (const at::ScalarType stored : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    for (const double value : {std::nan(""), std::numeric_limits<double>::infinity(), -HUGE_VAL}) {
      for (const int64_t place : {0, 3'000'000, 5'000'002}) {
        at::Tensor file = Large(stored);
        file.view({-1})[place] = value;
        const absl::Status status = Weight(file, at::kFloat).status();
        EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << stored << " " << place;
        EXPECT_THAT(std::string(status.message()), HasSubstr("tensor weight holds NaN"));
      }
    }
  }
}

TEST(TensorIoTest, TheLargestFiniteValuesAreFinite) {
  for (const at::ScalarType stored : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const double largest = stored == at::kHalf ? 65504 : 3.3895313892515355e38;
    EXPECT_TRUE(Weight(at::full({4}, -largest, stored), stored).ok()) << stored;
  }
}

TEST(TensorIoTest, AnEmptyWeightAndAScalarAreWeightsToo) {
  EXPECT_EQ(Weight(at::empty({0, 4}), at::kFloat)->numel(), 0);
  EXPECT_EQ(Weight(at::full({}, 2.5), at::kFloat)->item<float>(), 2.5);
}

}  // namespace
}  // namespace graft
