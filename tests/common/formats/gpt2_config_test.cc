#include "common/formats/gpt2_config.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

std::string With(absl::string_view members) {
  return absl::StrCat(R"({"model_type":"gpt2")", members.empty() ? "" : ",", members, "}");
}

std::string ErrorOf(absl::string_view json) {
  const absl::StatusOr<Gpt2Config> config = ParseGpt2Config(json);
  if (config.ok()) return "no error";
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(config.status().message());
}

TEST(Gpt2ConfigTest, ShortestFileIsGpt2Small) {
  const absl::StatusOr<Gpt2Config> config = ParseGpt2Config(With(""));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->vocab_size, 50257);
  EXPECT_EQ(config->n_inner, 3072);
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_EQ(config->eos_token_id, 50256);
  EXPECT_EQ(Gpt2ParameterCount(*config), 124'439'808);  // as published
}

TEST(Gpt2ConfigTest, PublishedSizesAreRight) {
  const auto count = [](absl::string_view members) {
    return Gpt2ParameterCount(*ParseGpt2Config(With(members)));
  };
  EXPECT_EQ(count(R"("n_embd":1024,"n_layer":24,"n_head":16)"), 354'823'168);
  EXPECT_EQ(count(R"("n_embd":1280,"n_layer":36,"n_head":20)"), 774'030'080);
  EXPECT_EQ(count(R"("n_embd":1600,"n_layer":48,"n_head":25)"), 1'557'611'200);
}

TEST(Gpt2ConfigTest, FieldsAndAliasesAreRead) {
  const absl::StatusOr<Gpt2Config> good =
      ParseGpt2Config(With(R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":2,
              "max_position_embeddings":128,"vocab_size":300,"n_inner":100,"n_ctx":9,
              "layer_norm_epsilon":1e-6,"attn_pdrop":0,"tie_word_embeddings":false,
              "eos_token_id":299,"bos_token_id":null,"task_specific_params":{"x":1})"));
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ(good->n_embd, 64);
  EXPECT_EQ(good->n_layer, 2);
  EXPECT_EQ(good->n_head, 2);
  EXPECT_EQ(good->n_positions, 128);
  EXPECT_EQ(good->n_inner, 100);
  EXPECT_EQ(good->layer_norm_epsilon, 1e-6);
  EXPECT_EQ(good->attn_pdrop, 0);
  EXPECT_FALSE(good->tie_word_embeddings);
  EXPECT_EQ(good->eos_token_id, 299);
  EXPECT_EQ(good->bos_token_id, std::nullopt);
}

TEST(Gpt2ConfigTest, IdsOutsideTheVocabularyAreNone) {
  const absl::StatusOr<Gpt2Config> config =
      ParseGpt2Config(With(R"("vocab_size":300,"eos_token_id":50256)"));
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->eos_token_id, std::nullopt);
  EXPECT_EQ(config->bos_token_id, std::nullopt);
}

TEST(Gpt2ConfigTest, WhatIsNotSupportedIsNamed) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"("activation_function":"relu")", "activation_function: 'relu'"},
      {R"("scale_attn_weights":false)", "scale_attn_weights: false"},
      {R"("scale_attn_by_inverse_layer_idx":true)", "scale_attn_by_inverse_layer_idx: true"},
      {R"("reorder_and_upcast_attn":true)", "reorder_and_upcast_attn: true"},
      {R"("add_cross_attention":true)", "add_cross_attention: true"},
      {R"("pruned_heads":{"0":[1]})", "pruned_heads: is not supported"},
      {R"("quantization_config":{"bits":4})", "quantization_config: is not supported"},
      {R"("n_head":5)", "n_head: 5 does not divide n_embd 768"},
      {R"("n_layer":0)", "n_layer: must be a whole number from 1 to 1024, not 0"},
      {R"("n_layer":1e300)", "n_layer: must be a whole number"},
      {R"("n_layer":2.5)", "n_layer: must be a whole number"},
      {R"("n_layer":18446744073709551615)", "n_layer: must be a whole number"},
      {R"("vocab_size":"many")",
       "vocab_size: must be a whole number from 1 to 16777216, not \"many\""},
      {R"("n_embd":[1])", "n_embd: must be a whole number from 1 to 65536, not a list"},
      {R"("layer_norm_epsilon":-1)", "layer_norm_epsilon: must be a number"},
      {R"("attn_pdrop":2)", "attn_pdrop: must be a number"},
      {R"("tie_word_embeddings":1)", "tie_word_embeddings: must be true or false"},
      {R"("activation_function":7)", "activation_function: must be a text"},
      {R"("eos_token_id":[1,2])", "eos_token_id: must be a whole number"},
  };
  for (const auto& [members, message] : cases) {
    EXPECT_THAT(ErrorOf(With(members)), HasSubstr(message)) << members;
  }
  EXPECT_EQ(ErrorOf(With(R"("pruned_heads":{},"scale_attn_weights":true)")), "no error");
}

TEST(Gpt2ConfigTest, WhatIsNoConfigurationIsRefused) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(ErrorOf("{}"), HasSubstr("model_type: must be \"gpt2\""));
  EXPECT_THAT(ErrorOf(R"({"model_type":"llama"})"), HasSubstr("\"llama\""));
  EXPECT_THAT(ErrorOf("{\"model_type\":\"gpt2\xff\"}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf(With("") + std::string("\0x", 2)), HasSubstr("zero byte"));
  EXPECT_THAT(ErrorOf("{\"model_type\":" + std::string(1'000'000, '[')),
              HasSubstr("not valid JSON"));
}

TEST(Gpt2ConfigTest, WrittenFileReadsBackAndEndsWithANewline) {
  Gpt2Config config;
  config.vocab_size = 1024;
  config.n_embd = 128;
  config.n_layer = 4;
  config.n_head = 4;
  config.n_inner = 500;
  config.n_positions = 256;
  config.layer_norm_epsilon = 1e-6;
  config.eos_token_id = 0;
  config.tie_word_embeddings = false;
  const std::string json = Gpt2ConfigJson(config, "bfloat16");
  EXPECT_EQ(json.back(), '\n');
  EXPECT_THAT(json, HasSubstr("  \"dtype\": \"bfloat16\",\n"));
  const absl::StatusOr<Gpt2Config> read = ParseGpt2Config(json);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(Gpt2ConfigJson(*read, "bfloat16"), json);
  EXPECT_EQ(read->n_inner, 500);
  EXPECT_EQ(read->eos_token_id, 0);
  EXPECT_EQ(read->bos_token_id, std::nullopt);
}

}  // namespace
}  // namespace graft
