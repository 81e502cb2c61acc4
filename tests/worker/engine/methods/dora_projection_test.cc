#include "worker/engine/methods/dora_projection.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>

#include "tests/worker/engine/golden.h"

namespace graft {
namespace {

constexpr int64_t kRows = 5, kIn = 6, kOut = 8, kRank = 2;
constexpr double kScale = 0.7;

// One projection with a DoRA whose columns are not as long as they would be.
struct Case {
  Projection projection;
  at::Tensor x, a, b, magnitude;

  explicit Case(at::ScalarType type = at::kDouble) {
    at::manual_seed(3);
    projection.weight = at::randn({kIn, kOut}, at::kDouble).to(type);
    projection.bias = at::randn({kOut}, at::kDouble).to(type);
    x = at::randn({kRows, kIn}, at::kDouble).to(type).requires_grad_(true);
    a = at::randn({kRank, kIn}, at::kDouble).to(type).requires_grad_(true);
    b = at::randn({kOut, kRank}, at::kDouble).to(type).requires_grad_(true);
    magnitude = (at::rand({kOut}, at::kDouble) + 0.5).requires_grad_(true);
  }
  at::Tensor Length() const {
    return DoraProjection::Length(projection.weight, a.detach(), b.detach(), kScale);
  }
  at::Tensor Ours(const Dropout& dropout, double rate) const {
    const AdaptedRows rows[] = {
        {std::make_shared<DoraProjection>(a, b, magnitude, Length(), kScale, rate), 0, kRows,
         dropout}};
    return projection.Forward(x, rows, 1, 2);
  }
  // As peft/tuners/lora/dora.py has it, by autograd; `masked` is x with its dropout.
  at::Tensor Theirs(const at::Tensor& masked, bool has_dropout) const {
    const at::Tensor result = at::addmm(projection.bias, x, projection.weight);
    const at::Tensor base =
        has_dropout ? at::mm(masked, projection.weight) : result - projection.bias;
    const at::Tensor weight = projection.weight + kScale * at::mm(b, a).t().detach();
    const at::Tensor factor = magnitude / weight.pow(2).sum(0).sqrt();
    return result + (factor - 1) * base + factor * at::mm(at::mm(masked, a.t()), b.t()) * kScale;
  }
};

// Of x, A, B and magnitude, for a loss that weighs every element otherwise.
std::vector<at::Tensor> Gradients(const Case& of, const at::Tensor& y) {
  (y * at::arange(y.numel(), y.options()).view(y.sizes()).sin()).sum().backward();
  std::vector<at::Tensor> gradients;
  for (at::Tensor tensor : {of.x, of.a, of.b, of.magnitude}) {
    gradients.push_back(tensor.grad().clone());
    tensor.mutable_grad().reset();
  }
  return gradients;
}

void ExpectTheSame(const Case& of, const at::Tensor& ours, const at::Tensor& theirs) {
  EXPECT_LT(RelativeDifference(ours, theirs), 1e-13);
  const std::vector<at::Tensor> our_gradients = Gradients(of, ours);
  const std::vector<at::Tensor> their_gradients = Gradients(of, theirs);
  for (size_t i = 0; i < our_gradients.size(); ++i) {
    EXPECT_LT(RelativeDifference(our_gradients[i], their_gradients[i]), 1e-13) << i;
  }
}

TEST(DoraProjectionTest, IsPeftsFormulaWithItsGradients) {
  const Case of;
  ExpectTheSame(of, of.Ours(Dropout(), 0.3), of.Theirs(of.x, false));
}

TEST(DoraProjectionTest, WithDropoutTheLengthsActOnWhatIsLeft) {
  const Case of;
  DropoutPlan plan;
  plan.seed = 4;
  const Dropout dropout(&plan);
  const at::Tensor mask = dropout.AdapterMask(of.x.detach(), 0.3, 1, 2);
  ExpectTheSame(of, of.Ours(dropout, 0.3), of.Theirs(of.x * mask, true));
}

TEST(DoraProjectionTest, AColumnAsLongAsItWasIsTheBases) {
  Case of;
  of.b = at::zeros_like(of.b);
  of.magnitude = of.Length();
  const at::Tensor base = at::addmm(of.projection.bias, of.x, of.projection.weight);
  EXPECT_LT(RelativeDifference(of.Ours(Dropout(), 0), base), 1e-14);
}

TEST(DoraProjectionTest, InBf16TheLengthsAreNotRounded) {
  Case narrow(at::kBFloat16);
  narrow.magnitude = narrow.magnitude.detach().to(at::kFloat).requires_grad_(true);
  const at::Tensor length =
      DoraProjection::Length(narrow.projection.weight, narrow.a.detach().to(at::kFloat),
                             narrow.b.detach().to(at::kFloat), kScale);
  EXPECT_EQ(length.scalar_type(), at::kFloat);
  const AdaptedRows rows[] = {
      {std::make_shared<DoraProjection>(narrow.a, narrow.b, narrow.magnitude, length, kScale, 0), 0,
       kRows, Dropout()}};
  const at::Tensor y = narrow.projection.Forward(narrow.x, rows, 1, 2);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  y.sum().backward();
  EXPECT_EQ(narrow.magnitude.grad().scalar_type(), at::kFloat);
  const Case wide;
  EXPECT_LT(RelativeDifference(y.detach(), wide.Theirs(wide.x, false).detach()), 2e-2);
}

}  // namespace
}  // namespace graft
