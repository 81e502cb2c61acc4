#include "common/methods/peft_lora.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/sha256.h"
#include "common/methods/peft_fields.h"
#include "common/methods/soft_prompt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

PeftLoraConfig Lora16() {
  PeftLoraConfig config;
  config.base_model_name = "openai-community/gpt2";
  config.rank = 16;
  config.alpha = 32;
  config.target_modules = {"c_attn"};
  return config;
}

PeftPromptConfig Prompt20() {
  PeftPromptConfig config;
  config.base_model_name = "openai-community/gpt2";
  return config;
}

template <typename Config>
std::string Json(const Config& config, absl::string_view version = kDefaultPeftVersion) {
  const absl::StatusOr<std::string> json = PeftConfigJson(config, version);
  return json.ok() ? *json : json.status().ToString();
}

struct Golden {
  const char* version;
  size_t size;
  const char* sha256_start;
};

// Sizes and hashes of the files that these PEFT releases wrote themselves for GPT-2 small.
TEST(PeftConfigTest, LoraFilesAreThoseOfPeft) {
  for (const Golden& golden :
       {Golden{"0.10.0", 631, "16c63b10d1376019"}, Golden{"0.17.1", 840, "6793ce140f60fcee"},
        Golden{"0.20.0", 1061, "5376c98684d4ca74"}, Golden{"0.21.2", 1084, "623b60ce66611645"}}) {
    const std::string json = Json(Lora16(), golden.version);
    EXPECT_EQ(json.size(), golden.size) << golden.version << json;
    EXPECT_EQ(Sha256Hex(json).substr(0, 16), golden.sha256_start) << golden.version << json;
  }
}

TEST(PeftConfigTest, LoraWithDropoutIsThatOfPeft) {
  PeftLoraConfig config = Lora16();
  config.rank = 8;
  config.alpha = 16;
  config.dropout = 0.05;
  const std::string json = Json(config);
  EXPECT_EQ(json.size(), 840u);
  EXPECT_EQ(Sha256Hex(json).substr(0, 8), "83938a63");
  EXPECT_EQ(Sha256Hex(json).substr(60), "b5da");
}

TEST(PeftConfigTest, PromptFilesAreThoseOfPeft) {
  for (const Golden& golden :
       {Golden{"0.10.0", 449, "9c8ff1e72c411fa4"}, Golden{"0.17.1", 476, "109d5baef0a846cc"},
        Golden{"0.20.0", 504, "827f43535bed32dc"}, Golden{"0.21.2", 504, "04a1c58bd5d6ecdd"}}) {
    const std::string json = Json(Prompt20(), golden.version);
    EXPECT_EQ(json.size(), golden.size) << golden.version << json;
    EXPECT_EQ(Sha256Hex(json).substr(0, 16), golden.sha256_start) << golden.version << json;
  }
}

template <typename Config>
int NumFields(const Config& config, absl::string_view version) {
  const std::string json = Json(config, version);
  int count = 0;
  for (size_t at = json.find("\n  \""); at != std::string::npos; at = json.find("\n  \"", at + 1)) {
    ++count;
  }
  return count;
}

TEST(PeftConfigTest, EachReleaseHasItsOwnNumberOfFields) {
  const std::vector<std::tuple<const char*, int, int>> counts = {
      {"0.10.0", 24, 15}, {"0.14.0", 27, 15}, {"0.15.2", 29, 15}, {"0.17.1", 32, 16},
      {"0.18.1", 36, 17}, {"0.19.1", 38, 17}, {"0.20.0", 40, 17}, {"0.21.2", 41, 17}};
  for (const auto& [version, lora, prompt] : counts) {
    EXPECT_EQ(NumFields(Lora16(), version), lora) << version;
    EXPECT_EQ(NumFields(Prompt20(), version), prompt) << version;
  }
}

TEST(PeftConfigTest, VersionsFallBackToTheNewestKnownFieldsBelow) {
  EXPECT_EQ(*PeftFieldSet("0.10"), "0.10.0");
  EXPECT_EQ(*PeftFieldSet("0.13.2"), "0.10.0");
  EXPECT_EQ(*PeftFieldSet("0.16.0"), "0.15.2");
  EXPECT_EQ(*PeftFieldSet("0.17"), "0.17.1");
  EXPECT_EQ(*PeftFieldSet("0.21.9"), "0.21.2");
  for (const char* bad :
       {"", "0", "0.9.0", "0.22.0", "1.0", "0.17.x", "v0.17", "0.17.1.1", "0.-1"}) {
    EXPECT_EQ(PeftFieldSet(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(PeftConfigTest, EverythingWrittenIsReadBack) {
  PeftLoraConfig config = Lora16();
  config.alpha = 12.5;
  config.dropout = 0.1;
  config.use_rslora = true;
  config.target_modules = {"attn.c_proj", "c_attn"};
  config.exclude_modules = {"h.1.attn.c_attn"};
  config.layers_to_transform = {1, 3};
  config.layers_pattern = {"h"};
  config.rank_pattern = {{"h.1.attn.c_proj", 4}};
  config.alpha_pattern = {{"h.3.attn.c_proj", 7}, {"x", 2.5}};
  config.modules_to_save = {"transformer.h.11", "transformer.ln_f"};
  const absl::StatusOr<PeftLoraConfig> read = ParsePeftLora(Json(config));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(Json(*read), Json(config));
  EXPECT_EQ(Json(*ParsePeftPrompt(Json(Prompt20(), "0.21.2")), "0.21.2"),
            Json(Prompt20(), "0.21.2"));
}

TEST(PeftConfigTest, PatternsKeepTheOrderOfTheFile) {
  const absl::StatusOr<PeftLoraConfig> config = ParsePeftLora(
      R"({"peft_type":"LORA","target_modules":["c_attn"],"rank_pattern":{"z":3,"a":4}})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->rank_pattern, ElementsAre(Pair("z", 3), Pair("a", 4)));
}

TEST(PeftConfigTest, AbsentFieldsHavePeftsDefaults) {
  const PeftLoraConfig config = *ParsePeftLora(R"({"peft_type":"LORA"})");
  EXPECT_EQ(config.rank, 8);
  EXPECT_EQ(config.alpha, 8);
  EXPECT_THAT(config.target_modules, ElementsAre("c_attn"));
  const PeftLoraConfig dummy = *ParsePeftLora(
      R"({"peft_type":"LORA","target_modules":"dummy-target-modules","modules_to_save":["ln_f"]})");
  EXPECT_THAT(dummy.target_modules, IsEmpty());
  EXPECT_EQ(dummy.target_regex, "");
  const PeftLoraConfig all =
      *ParsePeftLora(R"({"peft_type":"LORA","target_modules":"all-linear"})");
  EXPECT_THAT(all.target_modules, ElementsAre("c_attn", "c_fc", "c_proj"));
}

TEST(PeftConfigTest, WhatIsNotSupportedIsNamed) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"("bias":"all")", "bias \"all\""},
      {R"("bias":"lora_only")", "bias \"lora_only\""},
      {R"("lora_bias":true)", "lora_bias true"},
      {R"("trainable_token_indices":[1])", "trainable_token_indices [1]"},
      {R"("layer_replication":[[0,2]])", "layer_replication"},
      {R"("target_parameters":["x"])", "target_parameters"},
      {R"("use_qalora":true)", "use_qalora"},
      {R"("megatron_config":{"a":1})", "megatron_config"},
      {R"("ensure_weight_tying":true)", "ensure_weight_tying"},
      {R"("alora_invocation_tokens":[1])", "alora_invocation_tokens"},
      {R"("kasa_config":{"a":1})", "kasa_config"},
      {R"("some_future_field":3)", "some_future_field 3"},
      {R"("init_lora_weights":"pissa_niter_4")", "init_lora_weights \"pissa_niter_4\""},
      {R"("init_lora_weights":"loftq")", "init_lora_weights \"loftq\""},
      {R"("task_type":"SEQ_CLS")", "task_type \"SEQ_CLS\""},
  };
  for (const auto& [field, message] : cases) {
    const absl::Status status =
        CheckPeftConfig(absl::StrCat(R"({"peft_type":"LORA",)", field, "}"));
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
  for (const char* type : {"IA3", "P_TUNING"}) {
    const absl::Status status = CheckPeftConfig(absl::StrCat(R"({"peft_type":")", type, "\"}"));
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(status.message()), HasSubstr(type));
  }
  EXPECT_EQ(CheckPeftConfig(R"({"peft_type":"PROMPT_TUNING","num_virtual_tokens":2,
                                "num_transformer_submodules":2})")
                .code(),
            absl::StatusCode::kUnimplemented);
}

TEST(PeftConfigTest, WrongFieldsAreNamed) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"("peft_type":"LORA","r":0)", "r: must be a whole number"},
      {R"("peft_type":"LORA","r":2.5)", "r: must be a whole number"},
      {R"("peft_type":"LORA","lora_alpha":"x")", "lora_alpha: must be a number"},
      {R"("peft_type":"LORA","lora_dropout":1.5)", "lora_dropout: must be a number"},
      {R"("peft_type":"LORA","target_modules":[1])", "target_modules: must be a list"},
      {R"("peft_type":"LORA","target_modules":{})", "target_modules: must be a list"},
      {R"("peft_type":"LORA","layers_to_transform":["a"])", "layers_to_transform: must be layer"},
      {R"("peft_type":"LORA","layers_to_transform":-1)", "layers_to_transform: must be a whole"},
      {R"("peft_type":"LORA","rank_pattern":{"a":1.5})", "rank_pattern: must map"},
      {R"("peft_type":"LORA","rank_pattern":[3])", "rank_pattern: must map"},
      {R"("peft_type":"LORA","target_modules":"x","layers_to_transform":[1])",
       "layers_to_transform"},
      {R"("peft_type":"PROMPT_TUNING")", "num_virtual_tokens: is missing"},
      {R"("r":1)", "peft_type: is missing"},
  };
  for (const auto& [fields, message] : cases) {
    const absl::Status status = CheckPeftConfig(absl::StrCat("{", fields, "}"));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << fields;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << fields;
  }
  EXPECT_FALSE(CheckPeftConfig("[]").ok());
}

TEST(PeftConfigTest, FilesConvertBetweenVersions) {
  for (const char* from : {"0.10.0", "0.15.2", "0.17.1", "0.21.2"}) {
    for (const char* to : {"0.10.0", "0.14.0", "0.17.1", "0.19.1", "0.20.0", "0.21.2"}) {
      EXPECT_EQ(*ConvertPeftConfigJson(Json(Lora16(), from), to), Json(Lora16(), to)) << from << to;
      EXPECT_EQ(*ConvertPeftConfigJson(Json(Prompt20(), from), to), Json(Prompt20(), to));
    }
  }
}

TEST(PeftConfigTest, WhatAnOldVersionDoesNotKnowIsNotDropped) {
  PeftLoraConfig lora = Lora16();
  lora.exclude_modules = {"h.0.attn.c_attn"};
  PeftPromptConfig prompt = Prompt20();
  prompt.modules_to_save = {"transformer.ln_f"};
  const auto check = [](const auto& config) {
    EXPECT_EQ(PeftConfigJson(config, "0.10.0").status().code(), absl::StatusCode::kInvalidArgument);
    const absl::Status status = ConvertPeftConfigJson(Json(config), "0.10.0").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("which PEFT 0.10.0 does not know"));
  };
  check(lora);
  check(prompt);
}

}  // namespace
}  // namespace graft
