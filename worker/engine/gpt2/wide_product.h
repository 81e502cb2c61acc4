#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace graft {

// A bf16 weight [N, K] that was laid out once for oneDNN's small product. Undefined where the
// processor has none, and for other types. The products require defined().
class PackedWeight {
 public:
  PackedWeight() = default;
  explicit PackedWeight(const at::Tensor& weight);

  bool defined() const { return tiles_.defined(); }
  // x [M, K] bf16 times weight^T → fp32 [M, N]: WideProduct.
  at::Tensor Product(const at::Tensor& x) const;
  // The same plus bias [N], rounded once, to bf16: at::addmm, faster (three times for few rows).
  at::Tensor Linear(const at::Tensor& x, const at::Tensor& bias) const;

 private:
  // Calls finish(sums [height, tile] fp32, first row, height, first column, width) for each tile of
  // the product, on many threads.
  template <typename Finish>
  void ForEachTile(const at::Tensor& x, const Finish& finish) const;

  int64_t rows_ = 0;  // N.
  at::Tensor tiles_;  // [ceil(N / tile), K / 2, tile, 2]: pairs along K beside each other.
};

// x [M, K] times weight^T [N, K], whose results are not rounded to bf16 where the factors are:
// GPT-2's logits lie at -35 to -110, where neighbours in bf16 are 0.25 to 0.5 apart. Both of one
// type; the result is fp32 [M, N] (fp64 for fp64).
//
// For bf16 on a CPU it is oneDNN's small product (at::native::cpublas::brgemm) over tiles of the
// weight: a row's results depend on this row alone then, not on the rows beside it nor on the
// number of threads; `packed` is the weight. Where that is undefined it is one in fp32 over pieces
// of the weight; on a GPU, cuBLAS with an output in fp32.
at::Tensor WideProduct(const at::Tensor& x, const at::Tensor& weight, const PackedWeight& packed);

}  // namespace graft
