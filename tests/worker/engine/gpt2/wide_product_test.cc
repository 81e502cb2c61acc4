#include "worker/engine/gpt2/wide_product.h"

#include <ATen/ATen.h>

#include "gtest/gtest.h"

namespace graft {
namespace {

// Sums of factors that are exact in bf16, computed in fp64.
at::Tensor Exact(const at::Tensor& x, const at::Tensor& weight) {
  return at::mm(x.to(at::kDouble), weight.to(at::kDouble).t());
}

class WideProductTest : public testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t>> {
 protected:
  void SetUp() override { at::manual_seed(7); }
};

TEST_P(WideProductTest, IsNotRoundedToBf16) {
  const auto [rows, outputs, inner] = GetParam();
  // The sums lie around -60, where bf16 knows only multiples of 0.25.
  const at::Tensor x = (at::randn({rows, inner}) - 1).to(at::kBFloat16);
  const at::Tensor weight = (at::randn({outputs, inner}) + 60.0 / inner).to(at::kBFloat16);
  const at::Tensor exact = Exact(x, weight);
  const double scale = exact.abs().max().item<double>();
  for (const PackedWeight& packed : {PackedWeight(weight), PackedWeight()}) {
    const at::Tensor wide = WideProduct(x, weight, packed);
    ASSERT_EQ(wide.scalar_type(), at::kFloat);
    EXPECT_LT((wide - exact).abs().max().item<double>(), 1e-6 * scale) << packed.defined();
  }
}

TEST_P(WideProductTest, ARowIsWhatItIsAlone) {
  const auto [rows, outputs, inner] = GetParam();
  const at::Tensor x = at::randn({rows, inner}).to(at::kBFloat16);
  const at::Tensor weight = at::randn({outputs, inner}).to(at::kBFloat16);
  const PackedWeight packed(weight);
  const at::Tensor together = WideProduct(x, weight, packed);
  const double scale = Exact(x, weight).abs().max().item<double>();
  for (int64_t row : {int64_t{0}, rows / 2, rows - 1}) {
    const at::Tensor alone = WideProduct(x.narrow(0, row, 1), weight, packed);
    EXPECT_LT((alone - together.narrow(0, row, 1)).abs().max().item<double>(), 1e-6 * scale)
        << "row " << row;
    if (packed.defined()) {
      EXPECT_TRUE(at::equal(alone, together.narrow(0, row, 1))) << "row " << row;
    }
  }
}

TEST_P(WideProductTest, AndWithABiasItIsRoundedOnce) {
  const auto [rows, outputs, inner] = GetParam();
  const at::Tensor x = at::randn({rows, inner}).to(at::kBFloat16);
  const at::Tensor weight = at::randn({outputs, inner}).to(at::kBFloat16);
  const at::Tensor bias = at::randn({outputs}).to(at::kBFloat16);
  const PackedWeight packed(weight);
  if (!packed.defined())
    GTEST_SKIP() << "no small product: odd factors, or a processor without bf16";
  const at::Tensor linear = packed.Linear(x, bias);
  EXPECT_EQ(linear.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(linear, (packed.Product(x) + bias.to(at::kFloat)).to(at::kBFloat16)));
  // A frozen Conv1D's weight comes transposed.
  const at::Tensor conv = weight.t().contiguous();
  EXPECT_TRUE(at::equal(PackedWeight(conv.t()).Linear(x, bias), linear));
}

INSTANTIATE_TEST_SUITE_P(Shapes, WideProductTest,
                         testing::Values(std::tuple(1, 64, 16), std::tuple(3, 63, 32),
                                         std::tuple(65, 200, 768), std::tuple(130, 1, 64),
                                         std::tuple(7, 130, 33)));

TEST(WideProductOfOthersTest, KeepsTheTypeOfFp32AndFp64) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const at::Tensor x = at::randn({3, 8}, type), weight = at::randn({5, 8}, type);
    EXPECT_EQ(WideProduct(x, weight, {}).scalar_type(), type);
    EXPECT_TRUE(at::equal(WideProduct(x, weight, {}), at::mm(x, weight.t())));
  }
}

}  // namespace
}  // namespace graft
