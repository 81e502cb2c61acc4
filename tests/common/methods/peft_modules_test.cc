#include "common/methods/peft_modules.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Gpt2Config Layers(int64_t count) {
  Gpt2Config config;
  config.n_layer = count;
  return config;
}

std::vector<std::string> Names(const PeftLoraConfig& peft, int64_t layers = 2) {
  const absl::StatusOr<std::vector<LoraModule>> modules = ResolveLoraModules(peft, Layers(layers));
  if (!modules.ok()) return {modules.status().ToString()};
  std::vector<std::string> names;
  for (const LoraModule& module : *modules) names.push_back(module.name);
  return names;
}

PeftLoraConfig Targets(std::vector<std::string> names) {
  PeftLoraConfig peft;
  peft.target_modules = std::move(names);
  return peft;
}

PeftLoraConfig Regex(const std::string& regex) {
  PeftLoraConfig peft;
  peft.target_regex = regex;
  return peft;
}

TEST(AsLoraShapeTest, OneRankAndTheSameTargetsInEveryLayerAreAShape) {
  PeftLoraConfig peft;
  peft.rank = 8;
  peft.alpha = 16;
  peft.target_modules = {"c_attn", "c_proj"};
  peft.exclude_modules = {"mlp.c_proj", "h.1.attn.c_attn", "h.1.attn.c_proj"};
  peft.rank_pattern = {{"c_attn", 2}, {"c_proj", 2}};
  peft.alpha_pattern = {{".*", 5}};
  const auto shape = AsLoraShape(*ResolveLoraModules(peft, Layers(3)));
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->rank, 2);
  EXPECT_EQ(shape->alpha, 5);
  EXPECT_THAT(shape->target_modules, ElementsAre("attn.c_attn", "attn.c_proj"));
  EXPECT_THAT(shape->layers, ElementsAre(0, 2));

  peft.exclude_modules = {"h.1.attn.c_proj", "mlp.c_proj"};
  EXPECT_THAT(std::string(AsLoraShape(*ResolveLoraModules(peft, Layers(3))).status().message()),
              HasSubstr("on attn.c_attn, attn.c_proj in block 0, but on attn.c_attn in block 1"));
  peft.rank_pattern = {{"h.2.attn.c_attn", 3}};
  EXPECT_THAT(std::string(AsLoraShape(*ResolveLoraModules(peft, Layers(3))).status().message()),
              HasSubstr("on h.2.attn.c_attn rank 3"));
}

TEST(LoraModulesTest, NamesMatchBySuffix) {
  EXPECT_THAT(Names(Targets({"c_attn"})), ElementsAre("h.0.attn.c_attn", "h.1.attn.c_attn"));
  EXPECT_THAT(Names(Targets({"c_proj"}), 1), ElementsAre("h.0.attn.c_proj", "h.0.mlp.c_proj"));
  EXPECT_THAT(Names(Targets({"attn.c_proj", "c_fc"}), 1),
              ElementsAre("h.0.attn.c_proj", "h.0.mlp.c_fc"));
  EXPECT_THAT(Names(Targets({"transformer.h.1.mlp.c_fc"})), ElementsAre("h.1.mlp.c_fc"));
  EXPECT_THAT(Names(Targets({"h.1.mlp.c_fc"})), ElementsAre("h.1.mlp.c_fc"));
  EXPECT_THAT(Names(Targets({"c_attn", "no_such_layer"}), 1), ElementsAre("h.0.attn.c_attn"));
}

TEST(LoraModulesTest, ShapesAndScalingAreThoseOfTheLayer) {
  PeftLoraConfig peft = Targets({"c_attn", "c_fc", "c_proj"});
  peft.rank = 16;
  peft.alpha = 8;
  const std::vector<LoraModule> modules = *ResolveLoraModules(peft, Layers(1));
  ASSERT_EQ(modules.size(), 4u);
  EXPECT_EQ(modules[0].in, 768);
  EXPECT_EQ(modules[0].out, 2304);
  EXPECT_EQ(modules[3].in, 3072);
  EXPECT_EQ(modules[3].out, 768);
  EXPECT_EQ(modules[0].scaling, 0.5);
  peft.use_rslora = true;
  EXPECT_EQ((*ResolveLoraModules(peft, Layers(1)))[0].scaling, 2.0);
}

TEST(LoraModulesTest, RegularExpressionMatchesTheWholePath) {
  EXPECT_THAT(Names(Regex(R"(.*\.h\.(1|11)\.attn\.c_attn)"), 12),
              ElementsAre("h.1.attn.c_attn", "h.11.attn.c_attn"));
  EXPECT_THAT(Names(Regex(R"(transformer\.h\.\d+\.mlp\.c_(fc|proj))"), 1),
              ElementsAre("h.0.mlp.c_fc", "h.0.mlp.c_proj"));
  EXPECT_THAT(Names(Regex("c_attn"))[0], HasSubstr("matches nothing"));
}

TEST(LoraModulesTest, LayersToTransformChooseLayers) {
  PeftLoraConfig peft = Targets({"c_attn"});
  peft.layers_to_transform = {10, 11};
  EXPECT_THAT(Names(peft, 12), ElementsAre("h.10.attn.c_attn", "h.11.attn.c_attn"));
  peft.layers_pattern = {"h"};
  EXPECT_THAT(Names(peft, 12), ElementsAre("h.10.attn.c_attn", "h.11.attn.c_attn"));
  peft.layers_pattern = {"layers"};
  EXPECT_THAT(Names(peft, 12)[0], HasSubstr("matches nothing"));
  // A full path counts whatever the layers say, as in PEFT.
  peft = Targets({"transformer.h.3.attn.c_attn"});
  peft.layers_to_transform = {1};
  EXPECT_THAT(Names(peft, 12), ElementsAre("h.3.attn.c_attn"));
}

TEST(LoraModulesTest, ExcludedAndSavedModulesAreLeftOut) {
  PeftLoraConfig peft = Targets({"c_attn"});
  peft.exclude_modules = {"h.0.attn.c_attn"};
  EXPECT_THAT(Names(peft), ElementsAre("h.1.attn.c_attn"));
  peft.exclude_modules.clear();
  peft.exclude_regex = R"(.*\.1\..*)";
  EXPECT_THAT(Names(peft), ElementsAre("h.0.attn.c_attn"));
  peft.exclude_regex.clear();
  peft.modules_to_save = {"transformer.h.1"};
  EXPECT_THAT(Names(peft, 12).size(), 11u);
  EXPECT_THAT(Names(peft), ElementsAre("h.0.attn.c_attn"));
}

TEST(LoraModulesTest, FirstMatchingPatternDecides) {
  PeftLoraConfig peft = Targets({"c_attn", "c_fc"});
  peft.rank_pattern = {{"h.1.attn.c_attn", 2}, {"c_attn", 3}, {"attn", 5}};
  peft.alpha_pattern = {{R"(h\.\d\.attn\.c_attn)", 4}};
  const std::vector<LoraModule> modules = *ResolveLoraModules(peft, Layers(2));
  ASSERT_EQ(modules.size(), 4u);
  EXPECT_EQ(modules[0].rank, 3);  // h.0.attn.c_attn
  EXPECT_EQ(modules[0].alpha, 4);
  EXPECT_EQ(modules[1].rank, 8);  // h.0.mlp.c_fc
  EXPECT_EQ(modules[1].alpha, 8);
  EXPECT_EQ(modules[2].rank, 2);  // h.1.attn.c_attn
  EXPECT_EQ(modules[2].scaling, 2);
}

TEST(LoraModulesTest, UnsupportedTargetsAreNamed) {
  for (const auto& [target, message] : std::vector<std::pair<std::string, const char*>>{
           {"wte", "LoRA on transformer.wte is not supported"},
           {"ln_1", "LoRA on transformer.h.0.ln_1 is not supported"}}) {
    EXPECT_THAT(Names(Targets({"c_attn", target}))[0],
                testing::AllOf(HasSubstr("UNIMPLEMENTED"), HasSubstr(message)));
  }
  EXPECT_THAT(Names(Regex("lm_head"))[0], HasSubstr("LoRA on lm_head is not supported"));
  EXPECT_THAT(Names(Regex("(?!x).*c_attn"))[0],
              testing::AllOf(HasSubstr("UNIMPLEMENTED"), HasSubstr("target_modules")));
  EXPECT_THAT(Names(Regex("c_attn("))[0], HasSubstr("INVALID_ARGUMENT: target_modules"));
  EXPECT_THAT(Names(Targets({"q_proj"}))[0],
              testing::AllOf(HasSubstr("'q_proj' matches nothing"), HasSubstr("c_attn")));
  PeftLoraConfig peft = Targets({"c_attn"});
  peft.rank_pattern = {{"*", 1}};
  EXPECT_THAT(Names(peft)[0], HasSubstr("INVALID_ARGUMENT: rank_pattern"));
}

TEST(LoraModulesTest, RankBeyondTheLayerIsRefused) {
  PeftLoraConfig peft = Targets({"c_attn"});
  peft.rank = 769;
  EXPECT_THAT(Names(peft)[0], HasSubstr("rank 769 of h.0.attn.c_attn: must be from 1 to 768"));
}

TEST(LoraModulesTest, HostileRegularExpressionEnds) {
  EXPECT_THAT(Names(Regex("(((.*)*)*)*x"), 1)[0], HasSubstr("matches nothing"));
  EXPECT_THAT(Names(Regex(std::string(100'000, '(')))[0], HasSubstr("target_modules"));
}

std::vector<std::string> Saved(const std::vector<std::string>& names, int64_t layers = 12) {
  const absl::StatusOr<std::vector<std::string>> saved = ResolveSavedModules(names, Layers(layers));
  return saved.ok() ? *saved : std::vector<std::string>{saved.status().ToString()};
}

TEST(SavedModulesTest, NamesMatchByTheirEnd) {
  EXPECT_THAT(Saved({"transformer.ln_f", "transformer.h.1"}), ElementsAre("h.1", "ln_f"));
  EXPECT_THAT(Saved({"h.1"}), ElementsAre("h.1"));
  EXPECT_THAT(Saved({"lm_head", "ln_f"}), ElementsAre("ln_f", "lm_head"));
  EXPECT_THAT(Saved({"11"}), ElementsAre("h.11"));
  EXPECT_THAT(Saved({"ln_2"}, 2), ElementsAre("h.0.ln_2", "h.1.ln_2"));
  EXPECT_THAT(Saved({}), IsEmpty());
}

TEST(SavedModulesTest, WhatCannotBeSavedIsNamed) {
  EXPECT_THAT(Saved({"1"})[0], HasSubstr("both h.1 and h.1.ln_1"));
  EXPECT_THAT(Saved({"transformer.h"})[0], HasSubstr("transformer.h is not supported"));
  EXPECT_THAT(Saved({"wte"})[0], HasSubstr("transformer.wte is not supported"));
  EXPECT_THAT(Saved({"score"})[0], HasSubstr("'score' matches nothing"));
  EXPECT_THAT(Saved({""})[0], HasSubstr("matches nothing"));
}

TEST(SavedModulesTest, TensorsAreAllOfTheModule) {
  const std::vector<TensorShape> tensors = SavedModuleTensors({"h.1", "ln_f"}, Layers(12));
  EXPECT_EQ(tensors.size(), 14u);  // h.1, not h.10 and h.11
  EXPECT_EQ(SavedModuleTensors({"lm_head"}, Layers(1))[0].shape,
            (std::vector<int64_t>{50257, 768}));
}

TEST(SavedModulesTest, LastLayersAreRecognised) {
  const LastLayersShape shape = *AsLastLayers({"h.10", "h.11", "ln_f"}, Layers(12));
  EXPECT_EQ(shape.num_layers, 2);
  EXPECT_TRUE(shape.final_norm);
  EXPECT_FALSE(shape.lm_head);
  EXPECT_EQ(AsLastLayers({"lm_head"}, Layers(12))->num_layers, 0);
  EXPECT_THAT(std::string(AsLastLayers({"h.9", "h.11"}, Layers(12)).status().message()),
              HasSubstr("h.9, h.11, which are not the model's last blocks"));
  EXPECT_EQ(AsLastLayers({"h.3.ln_1"}, Layers(12)).status().code(),
            absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace graft
