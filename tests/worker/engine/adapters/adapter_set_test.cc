#include "worker/engine/adapters/adapter_set.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>

#include "common/base/file.h"
#include "common/methods/dora.h"
#include "common/methods/full.h"
#include "common/methods/last_layers.h"
#include "common/methods/lora.h"
#include "common/methods/prefix_tuning.h"
#include "common/methods/soft_prompt.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/engine/golden.h"
#include "worker/engine/gpt2/forward.h"

namespace graft {
namespace {

using ::testing::_;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Names(const AdapterSet& set) {
  std::vector<std::string> names;
  for (const TrainedTensor& trained : set.tensors()) names.push_back(trained.name);
  return names;
}

absl::Status CreationError(const MethodConfig& method) {
  static const Gpt2Model* model = GoldenModel(at::kFloat).release();
  return AdapterSet::Create(*model, method, 1).status();
}

MethodConfig Lora(LoraConfig lora) {
  MethodConfig method;
  method.Set(std::move(lora));
  return method;
}

MethodConfig Prompt(SoftPromptConfig prompt) {
  MethodConfig method;
  method.Set(std::move(prompt));
  return method;
}

MethodConfig LastLayers(LastLayersConfig layers) {
  MethodConfig method;
  method.Set(std::move(layers));
  return method;
}

at::Tensor NextLogits(const Gpt2Network& network) {
  const int64_t prompt = network.num_virtual_tokens();
  return Logits(network, HiddenStates(network, GoldenIds().narrow(0, 0, 1).narrow(1, 0, 9),
                                      at::arange(prompt, prompt + 9, at::kLong), nullptr));
}

TEST(AdapterSetTest, InBf16TheProductsAreOfTheTrainedWeights) {
  const c10::NoGradGuard no_grad;
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kBFloat16);
  const auto set =
      *AdapterSet::Create(*model, LastLayers({.num_layers = 1, .include_lm_head = true}), 1);
  at::manual_seed(3);
  for (const TrainedTensor& trained : set->tensors()) {
    trained.tensor.add_(at::randn_like(trained.tensor), 0.3);
  }
  const Gpt2Network network = set->Bind();
  Gpt2Network plain = network;  // Without what is laid out for the processor.
  plain.head_packed = {};
  for (BlockTensors& block : plain.blocks) {
    for (Projection& projection : block.projections) projection.packed = {};
  }
  EXPECT_LT(RelativeDifference(NextLogits(network), NextLogits(plain)), 0.02);
  EXPECT_GT(RelativeDifference(NextLogits(network), NextLogits(model->network())), 0.2);
}

TEST(AdapterSetTest, InBf16TrainingBeginsWithTheFilesOwnValues) {
  const std::unique_ptr<Gpt2Model> exact = GoldenModel(at::kFloat);
  const std::unique_ptr<Gpt2Model> rounded = GoldenModel(at::kBFloat16);
  MethodConfig full;
  full.Set(FullConfig());
  MethodConfig prompt = Prompt({.num_virtual_tokens = 3});
  for (const MethodConfig& method :
       {LastLayers({.num_layers = 1, .include_lm_head = true}), full, prompt}) {
    const auto begun = AdapterSet::Create(*rounded, method, 1);
    const auto right = AdapterSet::Create(*exact, method, 1);
    ASSERT_TRUE(begun.ok()) << begun.status();
    ASSERT_EQ(Names(**begun), Names(**right));
    for (size_t i = 0; i < (*begun)->tensors().size(); ++i) {
      EXPECT_TRUE(at::equal((*begun)->tensors()[i].tensor, (*right)->tensors()[i].tensor))
          << (*begun)->tensors()[i].name;
    }
  }
}

TEST(AdapterSetTest, LoraTargetsMatchBySuffixAndStartAsNoChange) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  const auto set =
      AdapterSet::Create(*model, Lora({.rank = 2, .target_modules = {"c_proj"}, .layers = {1}}), 1);
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_THAT(Names(**set), ElementsAre("h.1.attn.c_proj.lora_A", "h.1.attn.c_proj.lora_B",
                                        "h.1.mlp.c_proj.lora_A", "h.1.mlp.c_proj.lora_B"));
  EXPECT_EQ((*set)->num_trained_parameters(), 2 * (16 + 16 + 64 + 16));
  EXPECT_TRUE(at::equal(NextLogits((*set)->Bind()), NextLogits(model->network())));
  const at::Tensor a = (*set)->tensors()[2].tensor;  // in = 64: U(-1/8, 1/8).
  EXPECT_LE(a.abs().max().item<double>(), 0.125);
  EXPECT_GT(a.abs().max().item<double>(), 0.11);
  EXPECT_EQ((*set)->tensors()[1].tensor.abs().max().item<double>(), 0);
}

TEST(AdapterSetTest, TheSeedDecidesAndOtherPartsDoNot) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  MethodConfig both = Lora({.rank = 2});
  both.Set(SoftPromptConfig{.num_virtual_tokens = 3});
  const auto first = *AdapterSet::Create(*model, both, 5);
  const auto other_seed = *AdapterSet::Create(*model, both, 6);
  const auto prompt_alone = *AdapterSet::Create(*model, Prompt({.num_virtual_tokens = 3}), 5);
  EXPECT_FALSE(at::equal(first->tensors()[0].tensor, other_seed->tensors()[0].tensor));
  EXPECT_TRUE(at::equal(first->tensors().back().tensor, prompt_alone->tensors()[0].tensor));
}

TEST(AdapterSetTest, SoftPromptsBeginAsTheInitSays) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  using Init = SoftPromptConfig::Init;
  const auto values = [&](SoftPromptConfig prompt) {
    return (*AdapterSet::Create(*model, Prompt(std::move(prompt)), 3))->tensors()[0].tensor;
  };
  const at::Tensor text =
      values({.num_virtual_tokens = 5, .init = Init::kText, .init_text_ids = {7, 9, 11}});
  const at::Tensor rows = at::tensor(std::vector<int64_t>{7, 9, 11, 7, 9}, at::kLong);
  EXPECT_TRUE(at::equal(text, model->network().wte.index_select(0, rows)));
  const at::Tensor vocabulary = values({.num_virtual_tokens = 4, .init = Init::kVocabulary});
  for (int64_t row = 0; row < 4; ++row) {
    EXPECT_TRUE((model->network().wte == vocabulary[row]).all(1).any().item<bool>());
  }
  const double narrow =
      values({.num_virtual_tokens = 20, .init = Init::kRandom}).std().item<double>();
  const double unit =
      values({.num_virtual_tokens = 20, .init = Init::kRandomUnit}).std().item<double>();
  EXPECT_NEAR(narrow, 0.02, 0.003);
  EXPECT_NEAR(unit, 1, 0.15);
}

TEST(AdapterSetTest, LoraSkipsTheBlocksThatTrainWhole) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  MethodConfig method = Lora({.rank = 1});
  method.Set(LastLayersConfig{.num_layers = 2, .include_final_norm = false});
  const auto set = *AdapterSet::Create(*model, method, 1);
  EXPECT_EQ(set->first_trained_block(), 1);
  EXPECT_EQ(Names(*set).size(), 2u + 2 * 12);
  EXPECT_EQ(Names(*set)[0], "h.0.attn.c_attn.lora_A");
  EXPECT_EQ(Names(*set)[2], "h.1.ln_1.weight");
  EXPECT_FALSE(set->tensors()[2].decays);  // LayerNorm
  EXPECT_TRUE(set->tensors()[4].decays);   // h.1.attn.c_attn.weight
  EXPECT_FALSE(set->tensors()[5].decays);  // its bias
}

TEST(AdapterSetTest, TheHeadAloneIsAnUntiedCopy) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  const auto set = *AdapterSet::Create(
      *model, LastLayers({.num_layers = 0, .include_final_norm = false, .include_lm_head = true}),
      1);
  EXPECT_THAT(Names(*set), ElementsAre("lm_head.weight"));
  const Gpt2Network network = set->Bind();
  EXPECT_FALSE(network.lm_head.is_same(network.wte));
  EXPECT_FALSE(network.wte.requires_grad());
  EXPECT_TRUE(network.lm_head.requires_grad());
}

TEST(AdapterSetTest, FullTrainsEverythingAndKeepsTheHeadTied) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  const auto set = *AdapterSet::Create(*model, MethodConfig().Set(FullConfig()), 1);
  EXPECT_EQ(set->num_trained_parameters(), model->num_parameters());
  const Gpt2Network network = set->Bind();
  EXPECT_TRUE(network.lm_head.is_same(network.wte));
  EXPECT_FALSE(model->network().wte.requires_grad());
}

TEST(AdapterSetTest, MethodsThatCannotBeAreRefusedByField) {
  const std::vector<std::pair<MethodConfig, std::string>> cases = {
      {{}, "method: at least one"},
      {Lora({}).Set(FullConfig()), "method.full"},
      {Lora({.rank = 0}), "method.lora.rank: 0 is not in 1..16"},
      {Lora({.rank = 17}), "method.lora.rank: 17 is not in 1..16"},
      {Lora({.target_modules = {"q_proj"}}), "no layer \"q_proj\""},
      {Lora({.target_modules = {}}), "method.lora.target_modules"},
      {Lora({.layers = {3}}), "method.lora.layers: 3 is not in 0..2"},
      {Prompt({.num_virtual_tokens = 0}), "method.soft_prompt.num_virtual_tokens: 0"},
      {Prompt({.num_virtual_tokens = 23}), "is not in 1..22"},
      {Prompt({.init = SoftPromptConfig::Init::kText}), "method.soft_prompt.init_text"},
      {LastLayers({.num_layers = 4}), "method.last_layers.num_layers: 4 is not in 0..3"},
      {LastLayers({.num_layers = 0, .include_final_norm = false}), "nothing trains"},
      {Lora({}).Set(LastLayersConfig{.num_layers = 3}), "last_layers trains all"},
  };
  for (const auto& [method, text] : cases) {
    const absl::Status status = CreationError(method);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr(text));
  }
}

// Random values everywhere, so that nothing is equal by being zero.
std::unique_ptr<AdapterSet> RandomSet(const Gpt2Model& model, const MethodConfig& method) {
  absl::StatusOr<std::unique_ptr<AdapterSet>> set = AdapterSet::Create(model, method, 1);
  EXPECT_TRUE(set.ok()) << set.status();
  c10::NoGradGuard no_grad;
  for (const TrainedTensor& trained : (*set)->tensors()) {
    at::Tensor tensor = trained.tensor;
    tensor.add_(at::randn_like(tensor), 0.1);
  }
  return *std::move(set);
}

TEST(AdapterSetTest, EveryCombinationSurvivesSaveAndLoad) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  for (int parts = 1; parts < 16; ++parts) {
    MethodConfig method;
    if ((parts & 9) == 9) continue;  // LoRA and DoRA are one field.
    if (parts & 8)
      method.Set(DoraConfig{{.rank = 3, .alpha = 5, .target_modules = {"c_attn", "c_fc"}}});
    if (parts & 1) method.Set(LoraConfig{.rank = 3, .alpha = 5, .use_rslora = true});
    if (parts & 2) method.Set(SoftPromptConfig{.num_virtual_tokens = 4});
    if (parts & 4) method.Set(LastLayersConfig{.num_layers = 1, .include_lm_head = true});
    const std::unique_ptr<AdapterSet> set = RandomSet(*model, method);
    const TempDir parent;
    const std::string directory = parent.Path("adapter");
    const auto files = set->Save(directory, {.base_model_name = "tiny"});
    ASSERT_TRUE(files.ok()) << files.status();
    const bool two = (parts & 9) != 0 && (parts & 2) != 0;
    EXPECT_THAT(*files, Contains(two ? "lora/adapter_config.json" : "adapter_config.json"));
    const auto loaded = AdapterSet::Load(*model, directory);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(at::equal(NextLogits((*loaded)->Bind()), NextLogits(set->Bind())));
    EXPECT_GT(RelativeDifference(NextLogits(set->Bind()), NextLogits(model->network())), 1e-3);
    const auto fresh = *AdapterSet::Create(*model, method, 9);
    ASSERT_TRUE(fresh->CopyFrom(**loaded).ok());
    EXPECT_TRUE(at::equal(NextLogits(fresh->Bind()), NextLogits(set->Bind())));
  }
}

TEST(AdapterSetTest, ADoraBeginsAsTheBase) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel();
  const auto set = *AdapterSet::Create(*model, MethodConfig().Set(DoraConfig{{.rank = 2}}), 1);
  EXPECT_THAT(Names(*set), ElementsAre("h.0.attn.c_attn.lora_A", "h.0.attn.c_attn.lora_B",
                                       "h.0.attn.c_attn.lora_magnitude_vector", _, _, _, _, _, _));
  const auto lora = *AdapterSet::Create(*model, MethodConfig().Set(LoraConfig{.rank = 2}), 1);
  EXPECT_TRUE(at::equal(set->tensors()[0].tensor, lora->tensors()[0].tensor));
  EXPECT_LT(RelativeDifference(NextLogits(set->Bind()), NextLogits(model->network())), 1e-12);
  for (const TrainedTensor& trained : set->tensors()) EXPECT_EQ(trained.method, "dora");
}

TEST(AdapterSetTest, APrefixIsKeysAndValuesOfEveryBlockAndSurvivesSaveAndLoad) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  const auto set =
      RandomSet(*model, MethodConfig().Set(PrefixTuningConfig{.num_virtual_tokens = 4}));
  const Gpt2Network network = set->Bind();
  const int64_t width = network.width(), head = width / network.num_heads;
  ASSERT_EQ(set->tensors().size(), 1u);
  const at::Tensor rows = set->tensors()[0].tensor;
  EXPECT_EQ(network.prefix_length(), 4);
  EXPECT_EQ(network.num_prompt_rows(), 0);
  // Row 3, the value of head 1 in block 2.
  EXPECT_TRUE(at::equal(network.blocks[2].prefix.values[1][3],
                        rows[3].narrow(0, (2 * 2 + 1) * width + head, head)));
  const TempDir parent;
  ASSERT_TRUE(set->Save(parent.Path("adapter"), {}).ok());
  const auto loaded = AdapterSet::Load(*model, parent.Path("adapter"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(at::equal((*loaded)->tensors()[0].tensor, rows));
  EXPECT_EQ((*loaded)->Bind().prefix_length(), 4);
  EXPECT_THAT(
      CreationError(MethodConfig().Set(PrefixTuningConfig{.num_virtual_tokens = 23})),
      ::testing::ResultOf([](const absl::Status& s) { return std::string(s.message()); },
                          HasSubstr("prefix_tuning.num_virtual_tokens: 23 is not in 1..22")));
}

TEST(AdapterSetTest, FullIsSavedAsAModel) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  const std::unique_ptr<AdapterSet> set = RandomSet(*model, MethodConfig().Set(FullConfig()));
  const TempDir parent;
  const std::string directory = parent.Path("model");
  const auto files = set->Save(directory, {.tokenizer_directory = GoldenPath("model")});
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_THAT(*files, Contains("model.safetensors"));
  const auto loaded = Gpt2Model::Load(directory, {});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(at::equal(NextLogits((*loaded)->network()), NextLogits(set->Bind())));
}

TEST(AdapterSetTest, InitFromAnotherShapeIsRefused) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  const auto two = *AdapterSet::Create(*model, Lora({.rank = 2}), 1);
  const auto three = *AdapterSet::Create(*model, Lora({.rank = 3}), 1);
  const auto scaled = *AdapterSet::Create(*model, Lora({.rank = 2, .alpha = 3}), 1);
  const auto prompt = *AdapterSet::Create(*model, Prompt({}), 1);
  for (const AdapterSet* other : {three.get(), scaled.get(), prompt.get()}) {
    EXPECT_EQ(two->CopyFrom(*other).code(), absl::StatusCode::kInvalidArgument);
  }
  // As many tensors, of another method.
  const auto module = *AdapterSet::Create(*model, Lora({.rank = 2, .layers = {0}}), 1);
  const auto norm = *AdapterSet::Create(*model, LastLayers({.num_layers = 0}), 1);
  ASSERT_EQ(module->tensors().size(), norm->tensors().size());
  EXPECT_THAT(std::string(module->CopyFrom(*norm).message()), HasSubstr("is missing"));
}

TEST(AdapterSetTest, MissingAdapterIsNotFound) {
  const std::unique_ptr<Gpt2Model> model = GoldenModel(at::kFloat);
  EXPECT_EQ(AdapterSet::Load(*model, "/nowhere/at/all").status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace graft
