#pragma once

// The optimiser: the only file that calls LibTorch's underscore operators for it, which drift
// between releases.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace graft {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
};

// Tensors that share a learning rate and decay, with their moments: three lists of equal length.
struct AdamWGroup {
  double learning_rate = 0;
  double weight_decay = 0;
  std::vector<at::Tensor> tensors;  // With gradients.
  std::vector<at::Tensor> exp_avgs;
  std::vector<at::Tensor> exp_avg_sqs;
};

// One update of AdamW with decoupled decay (Loshchilov and Hutter 2019), in place, by the fused
// kernel, as transformers' default adamw_torch_fused. `update` counts updates from 1, this one
// included.
void AdamWStep(const AdamWOptions& options, int64_t update, AdamWGroup& group);

// Global L2 norm of the tensors' gradients, a scalar on their device.
at::Tensor GradientNorm(const std::vector<at::Tensor>& tensors);

// Multiplies all gradients by max_norm / (norm + 1e-6) where that is below 1.
void ClipGradients(const std::vector<at::Tensor>& tensors, const at::Tensor& norm, double max_norm);

}  // namespace graft
