#include "worker/engine/gpt2/wide_product.h"

#include <ATen/ATen.h>
#include <ATen/native/CPUBlas.h>
#include <c10/core/GradMode.h>
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "worker/engine/gpt2/product.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/gpt2/torch_threads.h"

namespace graft {
namespace {

constexpr int64_t kTile = 64;     // Rows of the weight in one small product.
constexpr int64_t kRows = 64;     // Rows of x in one.
constexpr int64_t kPiece = 1024;  // Rows of the weight in fp32 at once.

// oneDNN decides by the processor and by what ONEDNN_MAX_CPU_ISA leaves of it: asked by doing.
bool HasSmallProduct() {
  static const bool has =
      HasNativeBf16(at::kCPU) && CatchTorchErrors([] {
                                   const at::BFloat16 a[2] = {}, b[2 * kTile] = {};
                                   float c[kTile];
                                   at::native::cpublas::brgemm(1, kTile, 2, 2, kTile, kTile,
                                                               /*add_C=*/false, a, b, c);
                                   at::native::cpublas::brgemm_release();
                                   return absl::OkStatus();
                                 }).ok();
  return has;
}

// out = sums + bias, rounded to nearest, ties to even, as LibTorch rounds. Only where the processor
// multiplies bf16.
__attribute__((target("avx512f,avx512bf16"))) void RoundSums(const float* sums, const float* bias,
                                                             int64_t count, at::BFloat16* out) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m512 sum = _mm512_add_ps(_mm512_loadu_ps(sums + i), _mm512_loadu_ps(bias + i));
    const __m256bh rounded = _mm512_cvtneps_pbh(sum);
    std::memcpy(out + i, &rounded, sizeof(rounded));
  }
  for (; i < count; ++i) out[i] = at::BFloat16(sums[i] + bias[i]);
}

bool CanPack(const at::Tensor& weight) {
  return weight.scalar_type() == at::kBFloat16 && weight.is_cpu() && weight.size(1) % 2 == 0 &&
         HasSmallProduct();
}

}  // namespace

PackedWeight::PackedWeight(const at::Tensor& weight) {
  if (!CanPack(weight)) return;
  c10::NoGradGuard no_grad;
  const at::Tensor rows = weight.contiguous();
  rows_ = weight.size(0);
  const int64_t tiles = (rows_ + kTile - 1) / kTile, pairs = weight.size(1) / 2;
  tiles_ = at::empty({tiles, pairs, kTile, 2}, weight.options().requires_grad(false));
  const int64_t whole = rows_ / kTile;
  const auto pack = [&](int64_t begin, int64_t count, int64_t width) {
    tiles_.narrow(0, begin, count)
        .narrow(2, 0, width)
        .copy_(rows.narrow(0, begin * kTile, count * width)
                   .view({count, width, pairs, 2})
                   .transpose(1, 2));
  };
  if (whole > 0) pack(0, whole, kTile);
  if (whole < tiles) pack(whole, 1, rows_ - whole * kTile);
}

template <typename Finish>
void PackedWeight::ForEachTile(const at::Tensor& x, const Finish& finish) const {
  const int64_t rows = x.size(0), inner = x.size(1);
  const auto* a = x.const_data_ptr<at::BFloat16>();
  const auto* b = tiles_.const_data_ptr<at::BFloat16>();
  ForEachOnTorchThreads(tiles_.size(0), [&](int64_t begin, int64_t end) {
    alignas(64) float sums[kRows * kTile];
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t width = std::min(kTile, rows_ - tile * kTile);
      for (int64_t row = 0; row < rows; row += kRows) {
        const int64_t height = std::min(kRows, rows - row);
        at::native::cpublas::brgemm(height, width, inner, inner, kTile, kTile, /*add_C=*/false,
                                    a + row * inner, b + tile * kTile * inner, sums);
        finish(sums, row, height, tile * kTile, width);
      }
    }
    // oneDNN's larger products release the tiles of AMX, which this thread's kernel would take to
    // be as it left them.
    at::native::cpublas::brgemm_release();
  });
}

at::Tensor PackedWeight::Product(const at::Tensor& x) const {
  at::Tensor result = at::empty({x.size(0), rows_}, x.options().dtype(at::kFloat));
  auto* out = result.mutable_data_ptr<float>();
  ForEachTile(x.contiguous(),
              [&](const float* sums, int64_t row, int64_t height, int64_t column, int64_t width) {
                for (int64_t i = 0; i < height; ++i) {
                  std::copy_n(sums + i * kTile, width, out + (row + i) * rows_ + column);
                }
              });
  return result;
}

at::Tensor PackedWeight::Linear(const at::Tensor& x, const at::Tensor& bias) const {
  at::Tensor result = at::empty({x.size(0), rows_}, x.options());
  auto* out = result.mutable_data_ptr<at::BFloat16>();
  const at::Tensor wide_bias = bias.to(at::kFloat).contiguous();
  const auto* added = wide_bias.const_data_ptr<float>();
  ForEachTile(x.contiguous(), [&](const float* sums, int64_t row, int64_t height, int64_t column,
                                  int64_t width) {
    for (int64_t i = 0; i < height; ++i) {
      RoundSums(sums + i * kTile, added + column, width, out + (row + i) * rows_ + column);
    }
  });
  return result;
}

at::Tensor WideProduct(const at::Tensor& x, const at::Tensor& weight, const PackedWeight& packed) {
  if (x.scalar_type() != at::kBFloat16) return Product(x, weight.t());
  if (x.is_cuda()) return at::mm(x, weight.t(), at::kFloat);
  if (packed.defined()) return packed.Product(x);
  const at::Tensor wide = x.to(at::kFloat);
  at::Tensor result = at::empty({x.size(0), weight.size(0)}, wide.options());
  for (int64_t begin = 0; begin < weight.size(0); begin += kPiece) {
    const int64_t count = std::min(kPiece, weight.size(0) - begin);
    at::Tensor piece = result.narrow(1, begin, count);
    piece.copy_(Product(wide, weight.narrow(0, begin, count).to(at::kFloat).t()));
  }
  return result;
}

}  // namespace graft
