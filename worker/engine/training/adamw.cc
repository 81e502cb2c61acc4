#include "worker/engine/training/adamw.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace graft {
namespace {

std::vector<at::Tensor> Gradients(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.grad().defined()) gradients.push_back(tensor.grad());
  }
  return gradients;
}

}  // namespace

void AdamWStep(const AdamWOptions& options, int64_t update, AdamWGroup& group) {
  if (group.tensors.empty()) return;
  c10::NoGradGuard no_grad;
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& tensor : group.tensors) {
    gradients.push_back(tensor.grad().defined() ? tensor.grad() : at::zeros_like(tensor));
  }
  const at::Tensor step =
      at::full({}, static_cast<double>(update), group.tensors[0].options().dtype(at::kFloat));
  const std::vector<at::Tensor> steps(group.tensors.size(), step);
  at::_fused_adamw_(group.tensors, gradients, group.exp_avgs, group.exp_avg_sqs,
                    /*max_exp_avg_sqs=*/{}, steps, group.learning_rate, options.beta1,
                    options.beta2, group.weight_decay, options.eps, /*amsgrad=*/false,
                    /*maximize=*/false);
}

at::Tensor GradientNorm(const std::vector<at::Tensor>& tensors) {
  c10::NoGradGuard no_grad;
  const std::vector<at::Tensor> gradients = Gradients(tensors);
  if (gradients.empty()) return at::zeros({}, tensors[0].options());
  return at::stack(at::_foreach_norm(gradients, 2)).norm();
}

void ClipGradients(const std::vector<at::Tensor>& tensors, const at::Tensor& norm,
                   double max_norm) {
  c10::NoGradGuard no_grad;
  const at::Tensor factor = (max_norm / (norm + 1e-6)).clamp_max(1.0);
  const std::vector<at::Tensor> gradients = Gradients(tensors);
  if (!gradients.empty()) at::_foreach_mul_(gradients, factor);
}

}  // namespace graft
