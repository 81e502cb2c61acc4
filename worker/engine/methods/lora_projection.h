#pragma once

#include "worker/engine/gpt2/projection.h"

namespace graft {

// LoRA (Hu et al. 2021): y += scale * dropout(x) A^T B^T, in the type of the network.
class LoraProjection : public ProjectionAdapter {
 public:
  // a [r, in], b [out, r]; `dropout` acts in training only.
  LoraProjection(at::Tensor a, at::Tensor b, double scale, double dropout)
      : a_(std::move(a)), b_(std::move(b)), scale_(scale), dropout_(dropout) {}

  Tensors tensors() const override { return {a_, b_}; }
  Tensors Forward(const ProjectionInput& input, at::Tensor y) const override;
  Gradients Backward(const ProjectionInput& input, const Tensors& kept,
                     const at::Tensor& gradient) const override;
  void AddInputGradient(const ProjectionInput& input, const Tensors& kept,
                        const Gradients& gradients, at::Tensor of_input) const override;

 private:
  const at::Tensor a_, b_;
  const double scale_;
  const double dropout_;
};

}  // namespace graft
