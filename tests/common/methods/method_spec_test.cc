#include "common/methods/method_spec.h"

#include "absl/strings/str_cat.h"
#include "common/methods/last_layers.h"
#include "common/methods/lora.h"
#include "common/methods/soft_prompt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

// LoRA of rank 3, alpha 5, on attn.c_attn in these blocks.
std::vector<LoraModule> Modules(const std::vector<int64_t>& layers) {
  std::vector<LoraModule> modules;
  for (const int64_t layer : layers) {
    LoraModule& module = modules.emplace_back();
    module.name = absl::StrCat("h.", layer, ".attn.c_attn");
    module.layer = layer;
    module.rank = 3;
    module.alpha = 5;
  }
  return modules;
}

MethodConfig WithModules(MethodConfig parts, const std::vector<int64_t>& layers) {
  parts.Get<LoraConfig>().modules = Modules(layers);
  return parts;
}

TEST(MethodOfAdapterTest, NamesEveryPartAsItsFilesHaveIt) {
  Gpt2Config gpt2;
  gpt2.n_layer = 4;
  MethodConfig parts;
  parts.Set(LoraConfig{.rank = 3, .alpha = 5, .use_rslora = true, .layers = {0, 2}});
  parts.Set(SoftPromptConfig{.num_virtual_tokens = 7});
  parts.Set(LastLayersOf({"h.3", "ln_f"}, gpt2));
  const AdapterMethod described = MethodOfAdapter(WithModules(parts, {0, 2}), gpt2);
  const v1::Method& method = described.method;
  EXPECT_EQ(method.lora().rank(), 3);
  EXPECT_EQ(method.lora().alpha(), 5);
  EXPECT_TRUE(method.lora().use_rslora());
  EXPECT_EQ(method.lora().target_modules(0), "c_attn");
  EXPECT_EQ(method.lora().layers(1), 2);
  EXPECT_EQ(method.soft_prompt().num_virtual_tokens(), 7);
  EXPECT_EQ(method.last_layers().num_layers(), 1);
  EXPECT_TRUE(method.last_layers().include_final_norm());
  EXPECT_FALSE(method.last_layers().include_lm_head());
  EXPECT_EQ(described.init_from_error, "");
}

TEST(MethodOfAdapterTest, SaysWhatNoMethodTrains) {
  Gpt2Config gpt2;
  gpt2.n_layer = 4;
  MethodConfig parts;
  parts.Set(LastLayersOf({"h.0"}, gpt2));
  AdapterMethod described = MethodOfAdapter(parts, gpt2);
  EXPECT_EQ(MethodName(described.method), "last_layers");
  EXPECT_EQ(
      described.init_from_error,
      "modules_to_save has h.0, which are not the model's last blocks, but last_layers trains "
      "the last blocks as a whole, the final norm and the head");
  parts.Set(LastLayersOf({"h.0.ln_1", "h.1.ln_1"}, gpt2));
  parts.Set(LoraConfig());
  parts = WithModules(parts, {0, 1});
  parts.Get<LoraConfig>().modules[1].rank = 4;
  described = MethodOfAdapter(parts, gpt2);
  EXPECT_EQ(MethodName(described.method), "lora+last_layers");
  EXPECT_THAT(described.init_from_error,
              HasSubstr("LoRA on h.0.attn.c_attn has rank 3 and alpha 5, on h.1.attn.c_attn rank 4 "
                        "and alpha 5, but a method has one rank"));
  EXPECT_THAT(described.init_from_error, HasSubstr("; modules_to_save has h.0.ln_1 alone, but"));
}

}  // namespace
}  // namespace graft
