#include "worker/engine/gpt2/tiled_attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>
#include <ostream>

#include "absl/cleanup/cleanup.h"

namespace graft {
namespace {

struct Texts {
  int64_t batch;
  int64_t length;
  int64_t heads;
  int64_t width;
};
void PrintTo(const Texts& texts, std::ostream* out) {
  *out << texts.batch << " of " << texts.length << ", " << texts.heads << " heads of "
       << texts.width;
}

class TiledAttentionTest : public ::testing::TestWithParam<Texts> {
 protected:
  void SetUp() override {
    if (!HasTiledAttention(qkv_))
      GTEST_SKIP() << "needs AVX2 and oneDNN; elsewhere LibTorch's own attention runs";
  }
  static at::Tensor Random(int64_t rows, int64_t columns) {
    return at::randn({rows, columns}, at::detail::createCPUGenerator(7), at::kFloat);
  }
  // LibTorch's own, in fp64.
  at::Tensor Exact(const at::Tensor& qkv) const {
    const auto parts =
        qkv.view({texts_.batch, texts_.length, 3, texts_.heads, texts_.width}).unbind(2);
    return at::scaled_dot_product_attention(parts[0].transpose(1, 2), parts[1].transpose(1, 2),
                                            parts[2].transpose(1, 2), {}, 0, /*is_causal=*/true)
        .transpose(1, 2)
        .reshape({qkv.size(0), qkv.size(1) / 3});
  }
  at::Tensor Tiled(const at::Tensor& qkv) const {
    return TiledAttention(qkv, texts_.batch, texts_.length, texts_.heads);
  }
  static void ExpectNear(const at::Tensor& value, const at::Tensor& exact,
                         double tolerance = 1e-6) {
    ASSERT_EQ(value.sizes(), exact.sizes());
    EXPECT_LT((value.to(at::kDouble) - exact).norm().item<double>(),
              tolerance * exact.norm().item<double>());
  }

  const Texts texts_ = GetParam();
  const int64_t columns_ = texts_.heads * texts_.width;
  const at::Tensor qkv_ = 2 * Random(texts_.batch * texts_.length, 3 * columns_);
};
INSTANTIATE_TEST_SUITE_P(Shapes, TiledAttentionTest,
                         ::testing::Values(Texts{1, 1, 1, 8}, Texts{3, 5, 2, 16},
                                           Texts{2, 63, 3, 20}, Texts{2, 64, 1, 64},
                                           Texts{1, 65, 2, 5}, Texts{2, 300, 3, 64}));

TEST_P(TiledAttentionTest, IsThatOfItsHeads) {
  ExpectNear(Tiled(qkv_), Exact(qkv_.to(at::kDouble)));
}

TEST_P(TiledAttentionTest, HasItsGradients) {
  const at::Tensor gradient = Random(qkv_.size(0), columns_);
  at::Tensor exact = qkv_.to(at::kDouble).requires_grad_();
  Exact(exact).backward(gradient.to(at::kDouble));
  at::Tensor tiled = qkv_.clone().requires_grad_();
  Tiled(tiled).backward(gradient);
  // Of queries, keys and values: at one position the first two are 0.
  for (int64_t part = 0; part < 3; ++part) {
    const at::Tensor own = exact.grad().narrow(1, part * columns_, columns_);
    if (own.norm().item<double>() < 1e-12) continue;
    ExpectNear(tiled.grad().narrow(1, part * columns_, columns_), own);
  }
}

TEST_P(TiledAttentionTest, ATextIsWhatItIsAloneOnAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  const absl::Cleanup restore = [threads] { at::set_num_threads(threads); };
  at::set_num_threads(2);
  const at::Tensor together = Tiled(qkv_).narrow(0, 0, texts_.length);
  at::set_num_threads(1);
  EXPECT_TRUE(TiledAttention(qkv_.narrow(0, 0, texts_.length), 1, texts_.length, texts_.heads)
                  .equal(together));
}

TEST_P(TiledAttentionTest, AKeyThatIsNotFiniteSpreadsToWhateverSeesIt) {
  const int64_t last = texts_.length - 1;
  at::Tensor broken = qkv_.clone();
  broken[last][columns_] = std::numeric_limits<float>::quiet_NaN();  // Of the first head.
  const at::Tensor out = Tiled(broken);
  EXPECT_TRUE(out[last][0].isnan().item<bool>());
  EXPECT_TRUE(out.narrow(0, 0, last).equal(Tiled(qkv_).narrow(0, 0, last)));
}

TEST_P(TiledAttentionTest, LargeScoresDoNotOverflow) {
  // What is lost is lost in the scores, some of which are beyond 10,000.
  ExpectNear(Tiled(30 * qkv_), Exact(30 * qkv_.to(at::kDouble)), 1e-4);
}

}  // namespace
}  // namespace graft
