#include "worker/engine/methods/dora_projection.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <utility>

#include "worker/engine/gpt2/product.h"

namespace graft {
namespace {

// What Forward keeps: dropout(x) A^T, the mask (undefined: no dropout), dropout(x), and the result
// before its columns get their lengths, without b.
enum { kDoraDown = 0, kDoraMask = 1, kDoraMasked = 2, kDoraBefore = 3 };

at::Tensor Detached(const at::Tensor& magnitude, const at::Tensor& length) {
  c10::NoGradGuard no_grad;
  return magnitude / length;
}

}  // namespace

DoraProjection::DoraProjection(at::Tensor a, at::Tensor b, at::Tensor magnitude, at::Tensor length,
                               double scale, double dropout)
    : a_(std::move(a)),
      b_(std::move(b)),
      magnitude_(std::move(magnitude)),
      length_(std::move(length)),
      factor_(Detached(magnitude_, length_)),
      scale_(scale),
      dropout_(dropout) {}

at::Tensor DoraProjection::Length(const at::Tensor& weight, const at::Tensor& a,
                                  const at::Tensor& b, double scale) {
  c10::NoGradGuard no_grad;
  return at::addmm(weight.to(a.scalar_type()), a.t(), b.t(), /*beta=*/1, /*alpha=*/scale)
      .norm(2, 0);
}

ProjectionAdapter::Tensors DoraProjection::Forward(const ProjectionInput& input,
                                                   at::Tensor y) const {
  const at::Tensor mask = input.dropout.AdapterMask(input.x, dropout_, input.layer, input.site);
  const at::Tensor masked = mask.defined() ? input.x * mask : input.x;
  const at::Tensor down = Product(masked, a_.t());
  const at::Tensor& bias = input.projection.bias;
  at::Tensor before = mask.defined() ? Product(masked, input.projection.weight) : y - bias;
  if (mask.defined()) y.sub_(before);
  before.addmm_(down, b_.t(), /*beta=*/1, /*alpha=*/scale_);
  if (mask.defined()) {
    y.add_(before * factor_);
  } else {
    y.copy_(at::addcmul(bias.to(factor_.scalar_type()), before, factor_));
  }
  return {down, mask, masked, before};
}

ProjectionAdapter::Gradients DoraProjection::Backward(const ProjectionInput&, const Tensors& kept,
                                                      const at::Tensor& gradient) const {
  const at::Tensor of_before = (gradient * factor_).to(gradient.scalar_type());
  const at::Tensor of_down = Product(of_before, b_).mul_(scale_);
  Gradients gradients;
  gradients.of_tensors = {
      Product(of_down.t(), kept[kDoraMasked]),
      Product(kept[kDoraDown].t(), of_before).mul_(scale_).t().contiguous(),
      (gradient * kept[kDoraBefore]).sum(0, false, length_.scalar_type()).div_(length_)};
  gradients.of_product = kept[kDoraMask].defined() ? gradient : of_before;
  gradients.rest = {of_down, of_before - gradient};
  return gradients;
}

void DoraProjection::AddInputGradient(const ProjectionInput& input, const Tensors& kept,
                                      const Gradients& gradients, at::Tensor of_input) const {
  const at::Tensor& of_down = gradients.rest[0];
  if (!kept[kDoraMask].defined()) {
    of_input.addmm_(of_down, a_);
    return;
  }
  at::Tensor of_masked = Product(gradients.rest[1], input.projection.weight.t());
  of_input.add_(of_masked.addmm_(of_down, a_).mul_(kept[kDoraMask]));
}

}  // namespace graft
