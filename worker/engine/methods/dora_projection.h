#pragma once

#include "worker/engine/gpt2/projection.h"

namespace graft {

// DoRA (Liu et al. 2024), as PEFT computes it: with v = x W + scale * dropout(x) A^T B^T,
//
//   y = v * m / n + b,   n [out] = the lengths of the columns of W + scale * (B A)^T,
//
// where n counts as a constant for the gradients (section 4.3 there). With dropout PEFT gives the
// columns their lengths on dropout(x) alone: y = x W + b + (m / n - 1) dropout(x) W + ….
class DoraProjection : public ProjectionAdapter {
 public:
  // a [r, in], b [out, r] in the network's type; magnitude [out] and `length` [out], n, in fp32
  // (fp64 in an fp64 network). `dropout` acts in training only.
  DoraProjection(at::Tensor a, at::Tensor b, at::Tensor magnitude, at::Tensor length, double scale,
                 double dropout);
  // n, of the weight [in, out] of a projection and the trained tensors; in the type of these.
  static at::Tensor Length(const at::Tensor& weight, const at::Tensor& a, const at::Tensor& b,
                           double scale);

  Tensors tensors() const override { return {a_, b_, magnitude_}; }
  Tensors Forward(const ProjectionInput& input, at::Tensor y) const override;
  Gradients Backward(const ProjectionInput& input, const Tensors& kept,
                     const at::Tensor& gradient) const override;
  void AddInputGradient(const ProjectionInput& input, const Tensors& kept,
                        const Gradients& gradients, at::Tensor of_input) const override;

 private:
  const at::Tensor a_, b_, magnitude_, length_;
  const at::Tensor factor_;  // m / n
  const double scale_;
  const double dropout_;
};

}  // namespace graft
