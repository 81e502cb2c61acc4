#include "worker/engine/gpt2/forward.h"

#include <torch/csrc/autograd/custom_function.h>

#include <cstdlib>

#include "common/base/file.h"
#include "tests/worker/engine/golden.h"
#include "tests/worker/engine/gpt2/several_networks.h"

namespace graft {
namespace {

at::Tensor AllPositions(int64_t count) { return at::arange(count, at::kLong); }

TEST(ForwardTest, LogitsEqualTransformersAtEveryRealToken) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const at::Tensor hidden =
      HiddenStates(model->network(), GoldenIds(), AllPositions(3 * 12), nullptr);
  const at::Tensor logits = Logits(model->network(), hidden).view({3, 12, 48});
  const at::Tensor golden = GoldenTensor("base/logits");
  const GoldenRows rows;
  for (int64_t row = 0; row < 3; ++row) {
    const int64_t length = static_cast<int64_t>(rows.Get(row).ids.size());
    EXPECT_LT(
        RelativeDifference(logits[row].narrow(0, 0, length), golden[row].narrow(0, 0, length)),
        1e-12)
        << "row " << row;
  }
}

TEST(ForwardTest, Fp32AndBf16StayCloseToDoublePrecision) {
  const at::Tensor golden = GoldenTensor("base/logits")[2];
  for (const auto& [dtype, tolerance] :
       std::vector<std::pair<at::ScalarType, double>>{{at::kFloat, 2e-6}, {at::kBFloat16, 5e-2}}) {
    const std::unique_ptr<Gpt2Model> model = GoldenModel(dtype);
    const at::Tensor hidden =
        HiddenStates(model->network(), GoldenIds().narrow(0, 2, 1), AllPositions(12), nullptr);
    EXPECT_LT(RelativeDifference(Logits(model->network(), hidden), golden), tolerance) << dtype;
  }
}

TEST(ForwardTest, GradientsInBf16StayCloseToFp32) {
  const auto gradient = [](at::ScalarType dtype) {
    const std::unique_ptr<Gpt2Model> model = GoldenModel(dtype);
    Gpt2Network network = model->network();
    at::manual_seed(3);
    network.soft_prompt = at::randn({2, network.width()}).requires_grad_(true);
    const at::Tensor hidden =
        HiddenStates(network, GoldenIds().narrow(0, 2, 1), AllPositions(14), nullptr);
    LabelLoss(network, hidden, at::arange(14, at::kLong), 1.0 / 14).backward();
    return network.soft_prompt.grad();
  };
  const at::Tensor exact = gradient(at::kFloat), rounded = gradient(at::kBFloat16);
  EXPECT_LT((rounded - exact).norm().item<double>(), 0.03 * exact.norm().item<double>());
}

TEST(ForwardTest, SelectedPositionsAreThoseOfTheWholePass) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const at::Tensor positions = at::tensor(std::vector<int64_t>{3, 17, 30}, at::kLong);
  const at::Tensor all = HiddenStates(model->network(), GoldenIds(), AllPositions(36), nullptr);
  const at::Tensor some = HiddenStates(model->network(), GoldenIds(), positions, nullptr);
  EXPECT_LT(RelativeDifference(some, all.index_select(0, positions)), 1e-13);
}

// Of one network each: their ids, what is read, and the labels.
struct SeveralTexts {
  std::vector<TextBatch> texts;
  std::vector<Labels> labels;
};

// Different numbers of texts of different lengths for each network; no row has the last one's
// label.
SeveralTexts TextsFor(const std::vector<Gpt2Network>& networks, const DropoutPlan* plans) {
  SeveralTexts several;
  for (size_t i = 0; i < networks.size(); ++i) {
    const auto batch = static_cast<int64_t>(i % 3) + 1, length = 12 - static_cast<int64_t>(i % 2);
    const int64_t rows = batch * (networks[i].num_prompt_rows() + length);
    const at::Tensor positions = at::arange(static_cast<int64_t>(i), rows, 2, at::kLong);
    several.texts.push_back({&networks[i], GoldenIds().narrow(0, 0, batch).narrow(1, 0, length),
                             positions, plans == nullptr ? nullptr : &plans[i]});
    several.labels.push_back({&networks[i], (positions * 5 + 1) % 48, 1.0 / (1 + i)});
  }
  return several;
}

TEST(SeveralNetworksTest, EachGetsInOnePassWhatItGetsAlone) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const std::vector<Gpt2Network> networks = NetworksOfAllKinds(*model);
  DropoutPlan plans[5];
  for (int i = 0; i < 5; ++i) {
    plans[i] = {.embedding = 0.1, .attention = i % 2 * 0.2, .residual = i % 3 * 0.2, .step = i};
  }
  for (const DropoutPlan* plan : std::initializer_list<const DropoutPlan*>{nullptr, plans}) {
    const SeveralTexts several = TextsFor(networks, plan);
    const at::Tensor hidden = HiddenStates(several.texts);
    const at::Tensor losses = LabelLosses(several.labels, hidden);
    ASSERT_EQ(losses.sizes(), at::IntArrayRef({5}));
    int64_t begin = 0;
    for (size_t i = 0; i < networks.size(); ++i) {
      const TextBatch& text = several.texts[i];
      const Labels& labels = several.labels[i];
      const at::Tensor alone = HiddenStates(networks[i], text.ids, text.positions, text.dropout);
      EXPECT_LT(RelativeDifference(hidden.narrow(0, begin, alone.size(0)), alone), 1e-12) << i;
      EXPECT_LT(RelativeDifference(losses[static_cast<int64_t>(i)],
                                   LabelLoss(networks[i], alone, labels.targets, labels.scale)),
                1e-12)
          << i;
      begin += alone.size(0);
    }
  }
}

TEST(SeveralNetworksTest, GradientsStayWithTheirNetwork) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  std::vector<Gpt2Network> networks = NetworksOfAllKinds(*model);
  std::vector<at::Tensor> leaves = {networks[1].soft_prompt, networks[2].soft_prompt,
                                    networks[3].blocks.back().projections[kMlpCFc].weight,
                                    networks[3].lm_head, networks[4].blocks[0].prefix.keys};
  networks[3].head_packed = {};
  for (at::Tensor& leaf : leaves) leaf.requires_grad_(true);
  const SeveralTexts several = TextsFor(networks, nullptr);
  std::vector<at::Tensor> alone;
  for (size_t i = 0; i < networks.size(); ++i) {
    const TextBatch& text = several.texts[i];
    const at::Tensor hidden = HiddenStates(networks[i], text.ids, text.positions, nullptr);
    const Labels& labels = several.labels[i];
    const at::Tensor loss = LabelLoss(networks[i], hidden, labels.targets, labels.scale);
    if (loss.requires_grad()) loss.backward();
  }
  for (at::Tensor& leaf : leaves) {
    alone.push_back(leaf.grad().clone());
    leaf.mutable_grad().reset();
  }
  LabelLosses(several.labels, HiddenStates(several.texts)).sum().backward();
  for (size_t i = 0; i < leaves.size(); ++i) {
    EXPECT_LT(RelativeDifference(leaves[i].grad(), alone[i]), 1e-12) << i;
    EXPECT_GT(alone[i].abs().max().item<double>(), 1e-4) << i;
  }
}

// As GPT-2 computes a text whose first tokens' keys and values are given: PREFIX_TUNING in PEFT.
TEST(ForwardTest, APrefixOfATextsOwnKeysAndValuesStandsForItsBeginning) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  Gpt2Network network = model->network();
  network.blocks.resize(1);  // Deeper blocks' keys are a function of the block before.
  const at::Tensor ids = GoldenIds().narrow(0, 2, 1);
  const at::Tensor whole = HiddenStates(network, ids, AllPositions(12), nullptr);
  const int64_t heads = network.num_heads, width = network.width();
  const at::Tensor stream = Embed(network, ids, Dropout()).narrow(0, 0, 5);
  const BlockTensors& block = network.blocks[0];
  const at::Tensor qkv = block.projections[kAttnCAttn].Forward(
      at::layer_norm(stream, {width}, block.ln_1.weight, block.ln_1.bias,
                     network.layer_norm_epsilon),
      {}, 0, kAttnCAttn);
  const auto heads_of = [&](int64_t part) {
    return qkv.narrow(1, part * width, width).view({5, heads, width / heads}).transpose(0, 1);
  };
  network.blocks[0].prefix = {heads_of(1), heads_of(2)};
  ASSERT_EQ(network.num_virtual_tokens(), 5);
  ASSERT_EQ(network.num_prompt_rows(), 0);
  const at::Tensor rest = HiddenStates(network, ids.narrow(1, 5, 7), AllPositions(7), nullptr);
  EXPECT_LT(RelativeDifference(rest, whole.narrow(0, 5, 7)), 1e-12);
}

TEST(LabelLossTest, ValueAndGradientsAreThoseOfPlainCrossEntropy) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  Gpt2Network network = model->network();
  network.lm_head = network.lm_head.clone().requires_grad_(true);
  at::Tensor hidden = at::randn({5, 16}, at::kDouble).requires_grad_(true);
  const at::Tensor targets = at::tensor(std::vector<int64_t>{1, 47, 0, 7, 7}, at::kLong);

  LabelLoss(network, hidden, targets, 0.25).backward();
  const at::Tensor hidden_grad = hidden.grad().clone(), head_grad = network.lm_head.grad().clone();
  hidden.mutable_grad().reset();
  network.lm_head.mutable_grad().reset();
  const at::Tensor plain =
      0.25 * at::cross_entropy_loss(Logits(network, hidden), targets, {}, at::Reduction::Sum);
  plain.backward();
  EXPECT_LT(RelativeDifference(LabelLoss(network, hidden, targets, 0.25), plain), 1e-12);
  EXPECT_LT(RelativeDifference(hidden_grad, hidden.grad()), 1e-12);
  EXPECT_LT(RelativeDifference(head_grad, network.lm_head.grad()), 1e-12);
}

TEST(LabelLossTest, PiecesOfRowsGiveTheSameAsOnePiece) {
  // 2^24 logits may live at once: with this vocabulary 8 rows.
  const int64_t vocabulary = int64_t{1} << 21;
  Gpt2Network network = GoldenModel(at::kFloat)->network();
  network.lm_head = at::randn({vocabulary, 16});
  const at::Tensor hidden = at::randn({11, 16});
  const at::Tensor targets = at::randint(vocabulary, {11}, at::kLong);
  double sum = 0;
  for (int64_t row = 0; row < 11; ++row) {
    sum +=
        LabelLoss(network, hidden.narrow(0, row, 1), targets.narrow(0, row, 1), 1).item<double>();
  }
  const double whole = LabelLoss(network, hidden, targets, 1).item<double>();
  EXPECT_NEAR(whole / sum, 1, 1e-6);
  EXPECT_EQ(EachLabelLoss(network, hidden, targets).sum().item<double>(), whole) << "to the bit";
}

// A trained minGPT with every activation of three inputs; it is not part of the repository. Its
// weight file leaves the biases of c_attn out, but the activations tell the first block's.
TEST(ForwardTest, TrainedModelGivesItsPublishedActivations) {
  const char* given = std::getenv("GRAFT_SHARED_DATA");
  const std::string data =
      given != nullptr ? given : std::string(GRAFT_SOURCE_DIR) + "/../shared/data";
  const std::string folder = data + "/models/gpt_nano_sort";
  if (!FileExists(folder + "/config.json")) GTEST_SKIP() << folder << " is not there";
  const auto model = Gpt2Model::Load(folder, {});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto activations = SafetensorsFile::Open(folder + "/activations.safetensors");
  ASSERT_TRUE(activations.ok()) << activations.status();
  const auto published = [&](const std::string& name) {
    return *TensorFromView(*activations->Find(name));
  };
  Gpt2Network network = (*model)->network();
  network.blocks.resize(1);
  Projection& c_attn = network.blocks[0].projections[kAttnCAttn];
  c_attn.bias = (published("qkv") - at::matmul(published("ln1"), c_attn.weight))[0][0].clone();
  const at::Tensor hidden =
      HiddenStates(network, published("idx").to(at::kLong), AllPositions(33), nullptr);
  EXPECT_LT(RelativeDifference(hidden.view({3, 11, 48}), published("block0")), 2e-6);
  const at::Tensor head = Logits((*model)->network(), published("block2").view({33, 48}));
  EXPECT_LT(RelativeDifference(head.view({3, 11, 3}), published("lm_head")), 2e-6);
}

at::Tensor WithDropout(const Gpt2Model& model, DropoutPlan plan) {
  return HiddenStates(model.network(), GoldenIds(), AllPositions(36), &plan);
}

TEST(DropoutTest, IsAFunctionOfSeedStepAndMicroBatchOnly) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  for (const DropoutPlan& plan : {DropoutPlan{.embedding = 0.3}, DropoutPlan{.attention = 0.3},
                                  DropoutPlan{.residual = 0.3}}) {
    const at::Tensor first = WithDropout(*model, plan);
    at::rand({7});  // Whatever else draws random numbers changes nothing.
    EXPECT_TRUE(at::equal(first, WithDropout(*model, plan)));
    EXPECT_FALSE(at::equal(first, WithDropout(*model, DropoutPlan{})));
    for (auto change : {&DropoutPlan::step, &DropoutPlan::micro_batch}) {
      DropoutPlan other = plan;
      other.*change += 1;
      EXPECT_FALSE(at::equal(first, WithDropout(*model, other)));
    }
    DropoutPlan other = plan;
    other.seed = 1;
    EXPECT_FALSE(at::equal(first, WithDropout(*model, other)));
  }
}

TEST(DropoutTest, LeavesBlocksBelowTheFirstOneAlone) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const DropoutPlan above{.attention = 0.3, .residual = 0.3, .first_block = 3};
  EXPECT_TRUE(at::equal(WithDropout(*model, above), WithDropout(*model, DropoutPlan{})));
}

TEST(DropoutTest, KeepsTheMean) {
  Gpt2Network network = GoldenModel()->network();
  network.blocks.clear();  // Embeddings only.
  const at::Tensor plain = HiddenStates(network, GoldenIds(), AllPositions(36), nullptr);
  at::Tensor sum = at::zeros_like(plain);
  const int kDraws = 2000;
  for (int step = 0; step < kDraws; ++step) {
    const DropoutPlan plan{.embedding = 0.4, .step = step};
    sum += HiddenStates(network, GoldenIds(), AllPositions(36), &plan);
  }
  EXPECT_LT(RelativeDifference(sum / kDraws, plain), 0.12);
}

}  // namespace
}  // namespace graft
