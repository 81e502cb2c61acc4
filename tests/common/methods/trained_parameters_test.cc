#include "common/methods/trained_parameters.h"

#include "common/methods/last_layers.h"
#include "common/methods/lora.h"
#include "common/methods/soft_prompt.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

constexpr int64_t kAttention = 8 * (768 + 2304);  // Of LoRA of rank 8 on one c_attn.

TEST(TrainedParametersTest, LoraHasTwoMatricesOfEachLayerThatItTargets) {
  MethodConfig parts;
  LoraConfig& lora = parts.Get<LoraConfig>();
  EXPECT_EQ(CountTrainedParameters(parts, Gpt2Config()), 12 * kAttention);  // As PEFT prints it.
  lora.layers = {0, 11};
  EXPECT_EQ(CountTrainedParameters(parts, Gpt2Config()), 2 * kAttention);
  lora.target_modules = {"c_proj"};  // Attention's and MLP's.
  lora.rank = 2;
  EXPECT_EQ(CountTrainedParameters(parts, Gpt2Config()), 2 * 2 * (768 + 768 + 3072 + 768));
}

TEST(TrainedParametersTest, LoraLeavesBlocksAloneThatAreTrainedWhole) {
  MethodConfig parts;
  parts.Get<LoraConfig>();
  LastLayersConfig& last = parts.Get<LastLayersConfig>();
  last.num_layers = 2;
  last.include_final_norm = true;
  const int64_t block = 7'087'872;
  EXPECT_EQ(CountTrainedParameters(parts, Gpt2Config()), 10 * kAttention + 2 * block + 2 * 768);
  parts.Get<SoftPromptConfig>().num_virtual_tokens = 20;
  EXPECT_EQ(CountTrainedParameters(parts, Gpt2Config()),
            10 * kAttention + 2 * block + 2 * 768 + 20 * 768);
}

}  // namespace
}  // namespace graft
