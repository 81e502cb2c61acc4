#pragma once

#include <ATen/core/Tensor.h>

namespace graft {

// x [M, K] times w [K, N], of one type, which the result [M, N] has, too. x may lie as it likes,
// and is copied unless its rows are whole; w lies whole, or is the transpose of what does. Not seen
// by autograd.
//
// In fp32 on a CPU it is oneDNN's product: at::mm calls MKL there, which leaves the widest
// instructions of processors that are not Intel's unused (2.2 times as long on an AMD one with
// AVX-512). Small products are at::mm's, as oneDNN takes long to begin, and with a new shape
// longer. Which it is follows from M, K and N alone. With AVX-512 the bits of GPT-2's shapes do not
// depend on the number of threads: oneDNN divides sums of 20,000 and more between them where M and
// N are small. Without it it divides those of an adapter's thin products, too.
at::Tensor Product(const at::Tensor& x, const at::Tensor& w);
// The same plus bias [N].
at::Tensor Product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias);

}  // namespace graft
