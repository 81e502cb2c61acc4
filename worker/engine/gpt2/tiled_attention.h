#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace graft {

// Whether TiledAttention is for these: fp32 on a CPU whose small products oneDNN has.
bool HasTiledAttention(const at::Tensor& qkv);

// softmax(q k^T / sqrt(D)) v of each head, every position looking at itself and those before it:
// qkv [B * length, 3 * H * D], the queries, keys and values of a row beside each other, those of a
// head together → [B * length, H * D]. Autograd sees it; its gradients are those of FlashAttention
// (Dao et al. 2022, algorithm 4), which keeps a number for each position and head and computes the
// probabilities again.
//
// By oneDNN's small products over tiles of 64 positions, those in the future left out: LibTorch's
// own in fp32 calls MKL (product.h). Its bits do not depend on the number of threads, nor a text's
// on those beside it. A value that is not finite spreads to all of its tile.
at::Tensor TiledAttention(const at::Tensor& qkv, int64_t batch, int64_t length, int64_t heads);

}  // namespace graft
