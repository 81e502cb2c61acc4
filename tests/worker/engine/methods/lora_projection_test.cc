#include "worker/engine/methods/lora_projection.h"

#include <ATen/ATen.h>

#include "tests/worker/engine/golden.h"
#include "worker/engine/gpt2/forward.h"

namespace graft {
namespace {

struct Pair {
  at::Tensor a, b;
};

// A LoRA of its own on every projection of each of `count` networks.
std::vector<Gpt2Network> WithLora(const Gpt2Model& model, size_t count, double dropout,
                                  std::vector<Pair>* pairs) {
  at::manual_seed(5);
  std::vector<Gpt2Network> networks(count, model.network());
  for (size_t i = 0; i < count; ++i) {
    const auto rank = static_cast<int64_t>(i) + 1;
    for (BlockTensors& block : networks[i].blocks) {
      for (Projection& projection : block.projections) {
        const at::TensorOptions options = projection.weight.options();
        pairs->push_back(
            {at::randn({rank, projection.weight.size(0)}, options).requires_grad_(true),
             at::randn({projection.weight.size(1), rank}, options).mul_(0.1).requires_grad_(true)});
        projection.adapter =
            std::make_shared<LoraProjection>(pairs->back().a, pairs->back().b, 0.5, dropout);
      }
    }
  }
  return networks;
}

at::Tensor AllPositions() { return at::arange(24, at::kLong); }

TEST(LoraProjectionTest, IsTheMergedWeightsWithTheirGradients) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  std::vector<Pair> pairs;
  const std::vector<Gpt2Network> networks = WithLora(*model, 1, 0, &pairs);
  Gpt2Network merged = model->network();
  size_t pair = 0;
  for (BlockTensors& block : merged.blocks) {
    for (Projection& projection : block.projections) {
      projection.weight = projection.weight + 0.5 * at::mm(pairs[pair].b, pairs[pair].a).t();
      ++pair;
    }
  }
  const at::Tensor ids = GoldenIds().narrow(0, 1, 2), targets = AllPositions() % 48;
  const auto loss = [&](const Gpt2Network& network) {
    return LabelLoss(network, HiddenStates(network, ids, AllPositions(), nullptr), targets, 0.1);
  };
  const at::Tensor of_merged = loss(merged);
  of_merged.backward();
  std::vector<Pair> gradients;
  for (const Pair& of : pairs) {
    gradients.push_back({of.a.grad().clone(), of.b.grad().clone()});
    of.a.mutable_grad().reset();
    of.b.mutable_grad().reset();
  }
  const at::Tensor of_lora = loss(networks[0]);
  EXPECT_LT(RelativeDifference(of_lora, of_merged), 1e-12);
  of_lora.backward();
  for (size_t i = 0; i < pairs.size(); ++i) {
    EXPECT_LT(RelativeDifference(pairs[i].a.grad(), gradients[i].a), 1e-12) << i;
    EXPECT_LT(RelativeDifference(pairs[i].b.grad(), gradients[i].b), 1e-12) << i;
  }
}

TEST(LoraProjectionTest, ManyInOnePassHaveTheirOwnRowsAndGradients) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  for (const double dropout : {0.0, 0.3}) {
    std::vector<Pair> pairs;
    const std::vector<Gpt2Network> networks = WithLora(*model, 3, dropout, &pairs);
    DropoutPlan plans[3];
    std::vector<TextBatch> texts;
    std::vector<Labels> labels;
    for (int64_t i = 0; i < 3; ++i) {
      plans[i].seed = static_cast<uint64_t>(i);
      texts.push_back({&networks[static_cast<size_t>(i)],
                       GoldenIds().narrow(0, i, 1).narrow(1, 0, 12 - i),
                       at::arange(12 - i, at::kLong), &plans[i]});
      labels.push_back({texts.back().network, at::arange(12 - i, at::kLong), 0.25});
    }
    std::vector<at::Tensor> alone, gradients;
    for (size_t i = 0; i < 3; ++i) {
      const TextBatch own[] = {texts[i]};
      const Labels own_labels[] = {labels[i]};
      alone.push_back(LabelLosses(own_labels, HiddenStates(own)));
      alone.back().sum().backward();
    }
    for (const Pair& of : pairs) {
      for (const at::Tensor& tensor : {of.a, of.b}) {
        gradients.push_back(tensor.grad().clone());
        tensor.mutable_grad().reset();
      }
    }
    const at::Tensor together = LabelLosses(labels, HiddenStates(texts));
    EXPECT_LT(RelativeDifference(together, at::cat(alone)), 1e-12);
    together.sum().backward();
    for (size_t i = 0; i < pairs.size(); ++i) {
      EXPECT_LT(RelativeDifference(pairs[i].a.grad(), gradients[2 * i]), 1e-12) << i;
      EXPECT_LT(RelativeDifference(pairs[i].b.grad(), gradients[2 * i + 1]), 1e-12) << i;
    }
  }
}

}  // namespace
}  // namespace graft
