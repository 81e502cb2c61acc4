#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace graft {

// Where dropout acts, and what its random numbers are a function of: (seed, step, micro_batch,
// place in the network), never of what ran before. The same numbers on one kind of device; CPU and
// CUDA differ.
struct DropoutPlan {
  double embedding = 0;
  double attention = 0;
  double residual = 0;
  int64_t first_block = 0;  // Attention and residual dropout act from this block on.
  uint64_t seed = 0;
  int64_t step = 0;
  int64_t micro_batch = 0;
};

// What a dropout mask is for; with the layer it names a stream of random numbers.
enum class DropoutPlace { kEmbedding, kAttention, kAttentionOut, kMlpOut, kLora };

// Dropout of one training pass. Made of nullptr it does nothing anywhere: evaluation mode. A value.
class Dropout {
 public:
  Dropout() = default;
  explicit Dropout(const DropoutPlan* plan) {
    if (plan != nullptr) plan_ = *plan;
  }

  double attention_rate(int64_t layer) const;
  // Each returns x itself where the rate is 0.
  at::Tensor Embedding(const at::Tensor& x) const;
  at::Tensor Residual(const at::Tensor& x, int64_t layer, DropoutPlace place) const;
  // What x [N, in] of an adapter with a rate of its own is multiplied with; undefined: nothing.
  at::Tensor AdapterMask(const at::Tensor& x, double rate, int64_t layer, int site) const;
  // Attention kernels draw from the device's default generator: seeds it for this layer.
  void SeedAttention(at::Device device, int64_t layer) const;

 private:
  uint64_t Key(DropoutPlace place, int64_t layer, int site) const;

  std::optional<DropoutPlan> plan_;
};

}  // namespace graft
