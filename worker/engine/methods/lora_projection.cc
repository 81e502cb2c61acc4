#include "worker/engine/methods/lora_projection.h"

#include <ATen/ATen.h>

#include "worker/engine/gpt2/product.h"

namespace graft {
namespace {

// What Forward keeps: x A^T, the mask (undefined: no dropout), and x with the mask.
enum { kDown = 0, kMask = 1, kMasked = 2 };

}  // namespace

ProjectionAdapter::Tensors LoraProjection::Forward(const ProjectionInput& input,
                                                   at::Tensor y) const {
  const at::Tensor mask = input.dropout.AdapterMask(input.x, dropout_, input.layer, input.site);
  const at::Tensor masked = mask.defined() ? input.x * mask : input.x;
  const at::Tensor down = Product(masked, a_.t());
  y.addmm_(down, b_.t(), /*beta=*/1, /*alpha=*/scale_);
  return {down, mask, masked};
}

ProjectionAdapter::Gradients LoraProjection::Backward(const ProjectionInput&, const Tensors& kept,
                                                      const at::Tensor& gradient) const {
  const at::Tensor of_down = Product(gradient, b_).mul_(scale_);
  Gradients gradients;
  gradients.of_tensors = {Product(of_down.t(), kept[kMasked]),
                          Product(kept[kDown].t(), gradient).mul_(scale_).t().contiguous()};
  gradients.of_product = gradient;
  gradients.rest = {of_down};
  return gradients;
}

void LoraProjection::AddInputGradient(const ProjectionInput&, const Tensors& kept,
                                      const Gradients& gradients, at::Tensor of_input) const {
  const at::Tensor& of_down = gradients.rest[0];
  if (kept[kMask].defined()) {
    of_input.add_(Product(of_down, a_).mul_(kept[kMask]));
  } else {
    of_input.addmm_(of_down, a_);
  }
}

}  // namespace graft
