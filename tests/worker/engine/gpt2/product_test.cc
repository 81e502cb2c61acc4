#include "worker/engine/gpt2/product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <gtest/gtest.h>

#include <tuple>

#include "absl/cleanup/cleanup.h"

namespace graft {
namespace {

// M, K, N.
class ProductTest : public ::testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t>> {
 protected:
  static at::Tensor Random(int64_t rows, int64_t columns) {
    return at::randn({rows, columns}, at::detail::createCPUGenerator(7), at::kFloat);
  }
  static void ExpectNear(const at::Tensor& product, const at::Tensor& exact) {
    ASSERT_EQ(product.scalar_type(), at::kFloat);
    ASSERT_EQ(product.sizes(), exact.sizes());
    EXPECT_LT((product.to(at::kDouble) - exact).norm().item<double>(),
              1e-6 * exact.norm().item<double>());
  }
  const int64_t m_ = std::get<0>(GetParam());
  const int64_t k_ = std::get<1>(GetParam());
  const int64_t n_ = std::get<2>(GetParam());
};
// On both sides of each of oneDNN's bounds, thin in each direction, and of GPT-2's own shapes.
INSTANTIATE_TEST_SUITE_P(Shapes, ProductTest,
                         ::testing::Values(std::tuple(3, 5, 2), std::tuple(1, 768, 2304),
                                           std::tuple(64, 128, 127), std::tuple(64, 128, 128),
                                           std::tuple(2000, 768, 8), std::tuple(1024, 8, 1024),
                                           std::tuple(1024, 8, 1023), std::tuple(8, 700, 768),
                                           std::tuple(511, 512, 512), std::tuple(512, 512, 512),
                                           std::tuple(37, 768, 5003)));

TEST_P(ProductTest, IsThatOfItsFactorsHoweverTheyLie) {
  const at::Tensor x = Random(m_, k_);
  const at::Tensor w = Random(k_, n_);
  const at::Tensor bias = Random(1, n_)[0];
  const at::Tensor exact = at::mm(x.to(at::kDouble), w.to(at::kDouble));
  ExpectNear(Product(x, w), exact);
  ExpectNear(Product(x, w, bias), exact + bias.to(at::kDouble));
  ExpectNear(Product(x.t().contiguous().t(), w.t().contiguous().t()), exact);
  // Rows of a wider matrix.
  const at::Tensor wide = at::cat({Random(m_, 3), x}, 1);
  ExpectNear(Product(wide.narrow(1, 3, k_), w), exact);
}

TEST_P(ProductTest, HasTheSameBitsOnAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  const absl::Cleanup restore = [threads] { at::set_num_threads(threads); };
  const at::Tensor x = Random(m_, k_);
  const at::Tensor w = Random(k_, n_);
  at::set_num_threads(1);
  const at::Tensor one = Product(x, w);
  at::set_num_threads(2);
  const at::Tensor two = Product(x, w);
  ExpectNear(two, one.to(at::kDouble));
  if (at::get_cpu_capability() == "AVX512") {
    EXPECT_TRUE(two.equal(one));
  }
}

TEST_P(ProductTest, OtherTypesStayWhatTheyAre) {
  const at::Tensor x = Random(m_, k_).to(at::kDouble);
  const at::Tensor w = Random(k_, n_).to(at::kDouble);
  EXPECT_TRUE(Product(x, w).equal(at::mm(x, w)));
  EXPECT_EQ(Product(x.to(at::kBFloat16), w.to(at::kBFloat16)).scalar_type(), at::kBFloat16);
}

}  // namespace
}  // namespace graft
