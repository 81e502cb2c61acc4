#include "worker/engine/gpt2/projection.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "tests/worker/engine/golden.h"

namespace graft {
namespace {

// y becomes scale * y + x U, with its derivative by hand: it changes the product's own gradient,
// as no adapter that only adds does.
class ScaledAndAdded : public ProjectionAdapter {
 public:
  ScaledAndAdded(double scale, at::Tensor u) : scale_(scale), u_(std::move(u)) {}

  Tensors tensors() const override { return {u_}; }
  Tensors Forward(const ProjectionInput& input, at::Tensor y) const override {
    y.mul_(scale_).add_(at::mm(input.x, u_));
    return {};
  }
  Gradients Backward(const ProjectionInput& input, const Tensors&,
                     const at::Tensor& gradient) const override {
    return {{at::mm(input.x.t(), gradient)}, gradient * scale_, {gradient}};
  }
  void AddInputGradient(const ProjectionInput&, const Tensors&, const Gradients& gradients,
                        at::Tensor of_input) const override {
    of_input.addmm_(gradients.rest[0], u_.t());
  }

 private:
  const double scale_;
  const at::Tensor u_;
};

at::Tensor Leaf(at::IntArrayRef sizes) {
  return at::randn(sizes, at::kDouble).requires_grad_(true);
}

TEST(ProjectionTest, EachAdapterActsOnItsOwnRowsForwardAndBackward) {
  at::manual_seed(4);
  Projection projection;
  projection.weight = at::randn({5, 7}, at::kDouble);
  projection.bias = at::randn({7}, at::kDouble);
  const at::Tensor x = Leaf({9, 5}), first = Leaf({5, 7}), second = Leaf({5, 7});
  const at::Tensor weighing = at::randn({9, 7}, at::kDouble);
  const std::vector<AdaptedRows> adapted = {
      {std::make_shared<ScaledAndAdded>(3, first), 1, 4, {}},
      {std::make_shared<ScaledAndAdded>(-0.5, second), 6, 2, {}}};

  // By autograd alone.
  at::Tensor plain = at::addmm(projection.bias, x, projection.weight);
  const auto part = [&](int64_t begin, int64_t count, double scale, const at::Tensor& u) {
    return plain.narrow(0, begin, count) * scale + at::mm(x.narrow(0, begin, count), u);
  };
  const at::Tensor expected =
      at::cat({plain.narrow(0, 0, 1), part(1, 4, 3, first), plain.narrow(0, 5, 1),
               part(6, 2, -0.5, second), plain.narrow(0, 8, 1)});
  (expected * weighing).sum().backward();
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& leaf : {x, first, second}) {
    gradients.push_back(leaf.grad().clone());
    leaf.mutable_grad().reset();
  }

  const at::Tensor y = projection.Forward(x, adapted, 0, 0);
  EXPECT_LT(RelativeDifference(y, expected), 1e-14);
  (y * weighing).sum().backward();
  const at::Tensor leaves[] = {x, first, second};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_LT(RelativeDifference(leaves[i].grad(), gradients[i]), 1e-14) << i;
  }
  c10::NoGradGuard no_grad;
  EXPECT_TRUE(at::equal(projection.Forward(x, adapted, 0, 0), y));
}

TEST(ProjectionTest, AnInputThatNeedsNoGradientGetsNone) {
  Projection projection;
  projection.weight = at::randn({5, 7}, at::kDouble);
  projection.bias = at::randn({7}, at::kDouble);
  const at::Tensor x = at::randn({3, 5}, at::kDouble), u = Leaf({5, 7});
  const std::vector<AdaptedRows> adapted = {{std::make_shared<ScaledAndAdded>(2, u), 0, 3, {}}};
  projection.Forward(x, adapted, 0, 0).sum().backward();
  EXPECT_FALSE(x.grad().defined());
  EXPECT_LT(RelativeDifference(u.grad(), at::mm(x.t(), at::ones({3, 7}, at::kDouble))), 1e-14);
}

}  // namespace
}  // namespace graft
