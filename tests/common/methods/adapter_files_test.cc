#include "common/methods/adapter_files.h"

#include <cstring>

#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/methods/dora.h"
#include "common/methods/method_spec.h"
#include "common/methods/prefix_tuning.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/methods/test_adapter.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

Gpt2Config Tiny() {
  Gpt2Config config;
  config.vocab_size = 11;
  config.n_positions = 16;
  config.n_embd = 4;
  config.n_layer = 3;
  config.n_head = 2;
  config.n_inner = 16;
  return config;
}

LoraConfig C(std::vector<std::string> targets, std::vector<int64_t> layers = {}) {
  LoraConfig lora;
  lora.rank = 2;
  lora.target_modules = std::move(targets);
  lora.layers = std::move(layers);
  return lora;
}

class AdapterTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::vector<std::string>> Write(const MethodConfig& parts,
                                                 const AdapterTensors& tensors) {
    return WriteAdapter(
        dir_.Path("a"), gpt2_, parts, tensors.infos,
        [&](const TensorInfo& tensor) { return tensors.Get(tensor); }, options_);
  }
  // Writes an adapter, opens it and compares every tensor.
  AdapterFolder RoundTrip(const MethodConfig& parts, const std::vector<LoraModule>& modules) {
    const AdapterTensors tensors(modules, parts, gpt2_);
    const absl::StatusOr<std::vector<std::string>> files = Write(parts, tensors);
    EXPECT_TRUE(files.ok()) << files.status();
    files_ = files.value_or(std::vector<std::string>());
    absl::StatusOr<AdapterFolder> folder = AdapterFolder::Open(dir_.Path("a"), gpt2_);
    EXPECT_TRUE(folder.ok()) << folder.status();
    if (!folder.ok()) std::abort();
    EXPECT_EQ(folder->tensors().size(), tensors.data.size());
    for (const TensorView& tensor : folder->tensors()) {
      const auto expected = tensors.data.find(tensor.name);
      EXPECT_TRUE(
          expected != tensors.data.end() && tensor.bytes.size() == expected->second.size() * 4 &&
          std::memcmp(tensor.bytes.data(), expected->second.data(), tensor.bytes.size()) == 0)
          << tensor.name;
    }
    EXPECT_EQ(NumVirtualTokens(folder->parts()), NumVirtualTokens(parts));
    EXPECT_EQ(SavedModules(folder->parts(), gpt2_.n_layer), SavedModules(parts, gpt2_.n_layer));
    EXPECT_EQ(folder->parts().Has("lora"), parts.Has("lora"));
    return *std::move(folder);
  }
  std::vector<LoraModule> Modules(const std::vector<std::string>& targets,
                                  std::vector<int64_t> layers) {
    PeftLoraConfig peft;
    peft.rank = 2;
    peft.target_modules = targets;
    peft.layers_to_transform = std::move(layers);
    return *ResolveLoraModules(peft, gpt2_);
  }
  std::string File(const std::string& path) { return *ReadFile(dir_.Path("a/" + path), 1 << 20); }
  std::vector<std::string> StoredNames(const std::string& path) {
    std::vector<std::string> names;
    const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(dir_.Path("a/" + path));
    for (const TensorView& tensor : file->tensors()) {
      names.push_back(tensor.name);
    }
    return names;
  }
  std::string OpenError() {
    return std::string(AdapterFolder::Open(dir_.Path("a"), gpt2_).status().ToString());
  }
  void WriteConfig(const std::string& json) {
    ASSERT_TRUE(WriteFileAtomically(dir_.Path("a/adapter_config.json"), json).ok());
  }

  TempDir dir_;
  Gpt2Config gpt2_ = Tiny();
  AdapterWriteOptions options_{.base_model_name = "my/base"};
  std::vector<std::string> files_;
};

TEST_F(AdapterTest, LoraIsOnePeftAdapter) {
  MethodConfig parts;
  parts.Set(C({"c_attn", "mlp.c_proj"}, {0, 2}));
  const AdapterFolder folder = RoundTrip(parts, Modules({"c_attn", "mlp.c_proj"}, {0, 2}));
  EXPECT_THAT(files_, ElementsAre("adapter_config.json", "adapter_model.safetensors", "README.md"));
  EXPECT_EQ(folder.base_model_name(), "my/base");
  EXPECT_THAT(folder.parts().Find<LoraConfig>()->layers, ElementsAre(0, 2));
  EXPECT_THAT(folder.parts().Find<LoraConfig>()->target_modules,
              ElementsAre("c_attn", "mlp.c_proj"));
  EXPECT_EQ(folder.parts().Find<LoraConfig>()->modules[0].scaling, 8);
  EXPECT_EQ(StoredNames("adapter_model.safetensors")[0],
            "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight");
}

TEST_F(AdapterTest, LoraFileOfGpt2SmallHasTheBytesOfPeft) {
  gpt2_ = Gpt2Config();
  options_.base_model_name = "openai-community/gpt2";
  MethodConfig parts;
  parts.Set(LoraConfig());
  const PeftLoraConfig peft{.target_modules = {"c_attn"}};
  const AdapterTensors tensors(*ResolveLoraModules(peft, gpt2_), parts, gpt2_);
  ASSERT_TRUE(Write(parts, tensors).ok());
  const std::string file = *ReadFile(dir_.Path("a/adapter_model.safetensors"), 2 << 20);
  EXPECT_EQ(file.size(), 1'182'680u);
  EXPECT_EQ(Sha256Hex(file.substr(0, 3032)),
            "6d6bf8fe91d83e8ad913a73e3e55b7020e90de89ec1e1f313386bb637f82600f");
}

TEST_F(AdapterTest, DoraIsALoraWithAMagnitudeVectorForEachModule) {
  LoraConfig lora = C({"c_attn"}, {1});
  lora.modules = Modules({"c_attn"}, {1});
  MethodConfig parts;
  parts.Set(DoraConfig{lora});
  const AdapterFolder folder = RoundTrip(parts, {});
  EXPECT_THAT(StoredNames("adapter_model.safetensors"),
              ElementsAre("base_model.model.transformer.h.1.attn.c_attn.lora_A.weight",
                          "base_model.model.transformer.h.1.attn.c_attn.lora_B.weight",
                          "base_model.model.transformer.h.1.attn.c_attn.lora_magnitude_vector"));
  EXPECT_EQ(folder.Find("h.1.attn.c_attn.lora_magnitude_vector")->shape,
            (std::vector<int64_t>{12}));
  EXPECT_THAT(File("adapter_config.json"), HasSubstr("\"use_dora\": true"));
  EXPECT_THAT(File("README.md"), HasSubstr("- DoRA of rank 2, alpha 16, on c_attn"));
  EXPECT_FALSE(folder.parts().Has("lora"));
  EXPECT_THAT(folder.parts().Find<DoraConfig>()->layers, ElementsAre(1));
  const AdapterMethod described = MethodOfAdapter(folder.parts(), gpt2_);
  EXPECT_EQ(MethodName(described.method), "dora");
  EXPECT_EQ(described.init_from_error, "");
}

TEST_F(AdapterTest, DoraIsNotForPeftBefore014) {
  LoraConfig lora = C({"c_attn"});
  lora.modules = Modules({"c_attn"}, {});
  MethodConfig parts;
  parts.Set(DoraConfig{lora});
  const AdapterTensors tensors({}, parts, gpt2_);
  options_.peft_version = "0.13";
  EXPECT_THAT(std::string(Write(parts, tensors).status().message()),
              HasSubstr("use_dora is in use, which PEFT 0.10.0 does not know; 0.14.0 does"));
  options_.peft_version = "0.17";
  ASSERT_TRUE(Write(parts, tensors).ok());
  EXPECT_THAT(
      std::string(ConvertPeftConfigJson(File("adapter_config.json"), "0.10").status().message()),
      HasSubstr("use_dora is in use"));
}

TEST_F(AdapterTest, SoftPromptIsPromptTuning) {
  MethodConfig parts;
  parts.Set(SoftPromptConfig{.num_virtual_tokens = 5});
  RoundTrip(parts, {});
  EXPECT_THAT(StoredNames("adapter_model.safetensors"), ElementsAre("prompt_embeddings"));
  EXPECT_THAT(File("adapter_config.json"),
              AllOf(HasSubstr("\"PROMPT_TUNING\""), HasSubstr("\"token_dim\": 4"),
                    HasSubstr("\"num_layers\": 3"), HasSubstr("\"num_attention_heads\": 2")));
}

TEST_F(AdapterTest, APrefixIsOneTableOfKeysAndValues) {
  MethodConfig parts;
  parts.Set(PrefixTuningConfig{.num_virtual_tokens = 5});
  const AdapterFolder folder = RoundTrip(parts, {});
  EXPECT_THAT(StoredNames("adapter_model.safetensors"), ElementsAre("prompt_embeddings"));
  EXPECT_EQ(folder.Find("prefix")->shape, (std::vector<int64_t>{5, 2 * 3 * 4}));
  EXPECT_EQ(folder.base_model_name(), "my/base");
  EXPECT_THAT(File("README.md"), HasSubstr("- a prefix of 5 virtual tokens"));
  const AdapterMethod described = MethodOfAdapter(folder.parts(), gpt2_);
  EXPECT_EQ(MethodName(described.method), "prefix_tuning");
  EXPECT_EQ(described.method.prefix_tuning().num_virtual_tokens(), 5);
  gpt2_.n_head = 4;
  EXPECT_THAT(OpenError(), HasSubstr("num_attention_heads: 2, but the base model has 4"));
  gpt2_ = Tiny();
  gpt2_.n_positions = 5;
  EXPECT_THAT(OpenError(), HasSubstr("num_virtual_tokens: 5 leave no room in 5 positions"));
}

// Sizes and hashes of the files that these PEFT releases wrote themselves for GPT-2 small.
TEST_F(AdapterTest, PrefixFilesAreThoseOfPeft) {
  gpt2_ = Gpt2Config();
  options_.base_model_name = "openai-community/gpt2";
  MethodConfig parts;
  parts.Set(PrefixTuningConfig());
  const AdapterTensors tensors({}, parts, gpt2_);
  const std::vector<std::tuple<const char*, size_t, const char*>> golden = {
      {"0.10.0", 378, "c05edce3b8373e88"},
      {"0.17.1", 405, "41c35177f990072d"},
      {"0.20.0", 457, "c02f9e605fdf7c19"},
      {"0.21.2", 457, "bf5494e06982db36"}};
  for (const auto& [version, size, sha256_start] : golden) {
    options_.peft_version = version;
    ASSERT_TRUE(Write(parts, tensors).ok());
    const std::string config = File("adapter_config.json");
    EXPECT_EQ(config.size(), size) << config;
    EXPECT_EQ(Sha256Hex(config).substr(0, 16), sha256_start) << version << config;
    for (const auto& [other, ignored_size, ignored_hash] : golden) {
      const auto converted = ConvertPeftConfigJson(config, other);
      EXPECT_TRUE(converted.ok()) << converted.status();
      EXPECT_EQ(Sha256Hex(*ConvertPeftConfigJson(*converted, version)), Sha256Hex(config));
    }
  }
  const std::string file = *ReadFile(dir_.Path("a/adapter_model.safetensors"), 2 << 20);
  EXPECT_EQ(file.size(), 1'474'688u);
  EXPECT_EQ(Sha256Hex(file.substr(0, 128)),
            "e738af3760558ea7dd475e0a665cc49cf5eef03d0268b57cdd498fbaf5938c4b");
}

TEST_F(AdapterTest, APrefixWithSavedModulesIsRefusedByName) {
  MethodConfig parts;
  parts.Set(PrefixTuningConfig{.num_virtual_tokens = 2});
  RoundTrip(parts, {});
  WriteConfig(absl::StrReplaceAll(
      File("adapter_config.json"),
      {{"\"modules_to_save\": null", "\"modules_to_save\": [\"transformer.ln_f\"]"}}));
  EXPECT_THAT(OpenError(), AllOf(HasSubstr("UNIMPLEMENTED"), HasSubstr("modules_to_save")));
}

TEST_F(AdapterTest, LastLayersAreSavedModulesUnderACarrier) {
  MethodConfig parts;
  parts.Set(Saved({"h.2", "ln_f"}));
  RoundTrip(parts, {});
  EXPECT_THAT(File("adapter_config.json"), HasSubstr("\"transformer.h.0.attn.c_attn\""));
  const absl::StatusOr<SafetensorsFile> file =
      SafetensorsFile::Open(dir_.Path("a/adapter_model.safetensors"));
  EXPECT_EQ(file->tensors().size(), 16u);
  for (const char* name : {"lora_A", "lora_B"}) {
    const TensorView* carrier =
        file->Find(absl::StrCat("base_model.model.transformer.h.0.attn.c_attn.", name, ".weight"));
    ASSERT_NE(carrier, nullptr);
    for (const std::byte byte : carrier->bytes) EXPECT_EQ(byte, std::byte{0});
  }
  EXPECT_NE(file->Find("base_model.model.transformer.ln_f.weight"), nullptr);
  EXPECT_THAT(File("README.md"), HasSubstr("`load_adapter`"));
}

TEST_F(AdapterTest, HeadAloneIsSaved) {
  MethodConfig parts;
  parts.Set(Saved({"lm_head"}));
  RoundTrip(parts, {});
  EXPECT_THAT(StoredNames("adapter_model.safetensors")[0], "base_model.model.lm_head.weight");
}

TEST_F(AdapterTest, AllBlocksNeedNoCarrier) {
  MethodConfig parts;
  parts.Set(Saved({"h.0", "h.1", "h.2"}));
  RoundTrip(parts, {});
  EXPECT_THAT(File("adapter_config.json"), HasSubstr("\"dummy-target-modules\""));
  options_.peft_version = "0.10.0";
  EXPECT_EQ(Write(parts, AdapterTensors({}, parts, gpt2_)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(AdapterTest, LoraSkipsSavedBlocksAndSaysItsLayers) {
  MethodConfig parts;
  parts.Set(C({"c_attn"}));
  parts.Set(Saved({"h.2", "ln_f"}));
  const AdapterFolder folder = RoundTrip(parts, Modules({"c_attn"}, {0, 1}));
  EXPECT_THAT(File("adapter_config.json"),
              HasSubstr("\"layers_to_transform\": [\n    0,\n    1\n  ]"));
  EXPECT_THAT(folder.parts().Find<LoraConfig>()->layers, IsEmpty());
}

TEST_F(AdapterTest, SoftPromptWithLastLayersIsOneAdapterFrom017On) {
  MethodConfig parts;
  parts.Set(SoftPromptConfig{.num_virtual_tokens = 3});
  parts.Set(Saved({"ln_f"}));
  RoundTrip(parts, {});
  EXPECT_THAT(StoredNames("adapter_model.safetensors"),
              ElementsAre("base_model.transformer.ln_f.bias", "base_model.transformer.ln_f.weight",
                          "prompt_embeddings"));
  ASSERT_TRUE(RemoveTree(dir_.Path("a")).ok());
  options_.peft_version = "0.15.0";
  RoundTrip(parts, {});
  EXPECT_THAT(files_, ElementsAre("lora/adapter_config.json", "lora/adapter_model.safetensors",
                                  "soft_prompt/adapter_config.json",
                                  "soft_prompt/adapter_model.safetensors", "README.md"));
}

TEST_F(AdapterTest, AllThreePartsAreTwoDirectoriesLoraFirst) {
  MethodConfig parts;
  parts.Set(C({"c_attn", "c_fc"}));
  parts.Set(SoftPromptConfig{.num_virtual_tokens = 3});
  parts.Set(Saved({"h.2", "ln_f"}));
  const AdapterFolder folder = RoundTrip(parts, Modules({"c_attn", "c_fc"}, {0, 1}));
  EXPECT_EQ(folder.Find("soft_prompt")->shape, (std::vector<int64_t>{3, 4}));
  EXPECT_THAT(StoredNames("soft_prompt/adapter_model.safetensors"),
              ElementsAre("prompt_embeddings"));
  const std::string readme = File("README.md");
  const size_t lora =
      readme.find("from_pretrained(model, \"path/to/this/directory/lora\").merge_and_unload()");
  const size_t prompt =
      readme.find("from_pretrained(model, \"path/to/this/directory/soft_prompt\")");
  EXPECT_LT(lora, prompt);
  EXPECT_NE(prompt, std::string::npos);
}

TEST_F(AdapterTest, ALoraIsMergedOnlyUnderAPrompt) {
  MethodConfig parts;
  parts.Set(C({"c_attn"}));
  EXPECT_THAT(*PeftSnippet(parts, options_, "a"), Not(HasSubstr("merge")));
  parts.Set(SoftPromptConfig{.num_virtual_tokens = 3});
  EXPECT_THAT(
      *PeftSnippet(parts, options_, "a"),
      AllOf(HasSubstr("\"a/lora\").merge_and_unload()\n"), HasSubstr("\"a/soft_prompt\")\n")));
}

TEST_F(AdapterTest, TensorsThatDoNotFitAreNamedBeforeAnythingIsWritten) {
  MethodConfig parts;
  parts.Set(C({"c_attn"}));
  AdapterTensors tensors(Modules({"c_attn"}, {}), parts, gpt2_);
  tensors.infos[0].name = "h.9.attn.c_attn.lora_A";
  tensors.infos[1].shape = {12, 3};
  const absl::Status status = Write(parts, tensors).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("h.0.attn.c_attn.lora_A is missing"),
                    HasSubstr("h.9.attn.c_attn.lora_A belongs to no part"),
                    HasSubstr("h.0.attn.c_attn.lora_B has shape [12, 3], not [12, 2]")));
  EXPECT_FALSE(DirectoryExists(dir_.Path("a")));
  EXPECT_EQ(Write({}, tensors).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(AdapterTest, LoraWithNoLayerLeftIsRefused) {
  MethodConfig parts;
  parts.Set(C({"c_attn"}, {2}));
  parts.Set(Saved({"h.2"}));
  EXPECT_THAT(std::string(Write(parts, AdapterTensors({}, {}, gpt2_)).status().message()),
              HasSubstr("lora.layers: no layer is left"));
}

TEST_F(AdapterTest, FilesThatDoNotFitAreNamed) {
  MethodConfig parts;
  parts.Set(C({"c_attn"}));
  ASSERT_TRUE(Write(parts, AdapterTensors(Modules({"c_attn"}, {}), parts, gpt2_)).ok());
  const std::string config = File("adapter_config.json");
  WriteConfig(absl::StrReplaceAll(config, {{"\"r\": 2", "\"r\": 3"}}));
  EXPECT_THAT(OpenError(), AllOf(HasSubstr("INVALID_ARGUMENT"),
                                 HasSubstr("h.0.attn.c_attn.lora_A.weight has shape [2, 4], but"),
                                 HasSubstr("h.2.attn.c_attn.lora_B.weight")));
  WriteConfig(absl::StrReplaceAll(config, {{"c_attn", "c_fc"}}));
  EXPECT_THAT(OpenError(), AllOf(HasSubstr("h.0.mlp.c_fc.lora_A.weight [2, 4] is missing"),
                                 HasSubstr("h.0.attn.c_attn.lora_A.weight belongs to nothing")));
  WriteConfig(absl::StrReplaceAll(config, {{"\"use_dora\": false", "\"use_dora\": true"}}));
  EXPECT_THAT(OpenError(), HasSubstr("h.0.attn.c_attn.lora_magnitude_vector [12] is missing"));
  WriteConfig(config);
  gpt2_.n_layer = 2;
  EXPECT_THAT(OpenError(), HasSubstr("h.2.attn.c_attn.lora_A.weight belongs to nothing"));
}

// As PEFT writes what its users can say: the same modules, in other words.
TEST_F(AdapterTest, TheShapeOfALoraIsThatOfItsModules) {
  MethodConfig parts;
  parts.Set(C({"attn.c_attn", "attn.c_proj"}, {0, 2}));
  RoundTrip(parts, Modules({"attn.c_attn", "attn.c_proj"}, {0, 2}));
  WriteConfig(
      R"({"peft_type": "LORA", "r": 8, "lora_alpha": 3, "target_modules": ["c_attn", "c_proj"],
                  "exclude_modules": ["mlp.c_proj", "h.1.attn.c_attn", "h.1.attn.c_proj"],
                  "rank_pattern": {"c_attn": 2, "c_proj": 2}, "alpha_pattern": {"h.*": 16}})");
  const auto folder = AdapterFolder::Open(dir_.Path("a"), gpt2_);
  ASSERT_TRUE(folder.ok()) << folder.status();
  const LoraConfig& lora = *folder->parts().Find<LoraConfig>();
  EXPECT_EQ(lora.rank, 2);
  EXPECT_EQ(lora.alpha, 16);
  EXPECT_THAT(lora.target_modules, ElementsAre("attn.c_attn", "attn.c_proj"));
  EXPECT_THAT(lora.layers, ElementsAre(0, 2));

  // What has no one shape keeps the file's numbers.
  WriteConfig(R"({"peft_type": "LORA", "r": 2, "lora_alpha": 3, "alpha_pattern": {"h.0.*": 16},
                  "target_modules": ["attn.c_attn", "attn.c_proj"], "layers_to_transform": [0, 2]})");
  const auto uneven = AdapterFolder::Open(dir_.Path("a"), gpt2_);
  ASSERT_TRUE(uneven.ok()) << uneven.status();
  EXPECT_EQ(uneven->parts().Find<LoraConfig>()->alpha, 3);
}

TEST_F(AdapterTest, AnErrorNamesTheFileThatIsWrongOnce) {
  MethodConfig parts;
  parts.Set(C({"c_attn"}));
  RoundTrip(parts, Modules({"c_attn"}, {}));
  const auto times = [&](const std::string& text, const std::string& part) {
    int count = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
      ++count;
    return count;
  };
  const std::string config = File("adapter_config.json");
  const std::string path = dir_.Path("a/adapter_config.json");
  for (const std::string& broken :
       {std::string("no JSON"), std::string(R"({"peft_type": "LORA", "target_modules": ["x"]})"),
        absl::StrReplaceAll(config,
                            {{"\"modules_to_save\": null", "\"modules_to_save\": [\"wte\"]"}})}) {
    WriteConfig(broken);
    const std::string error = OpenError();
    EXPECT_EQ(times(error, dir_.Path("a")), 1) << error;
    EXPECT_THAT(error, HasSubstr(path + ": "));
  }
  WriteConfig(absl::StrReplaceAll(config, {{"\"r\": 2", "\"r\": 3"}}));
  const std::string error = OpenError();
  EXPECT_EQ(times(error, dir_.Path("a")), 1) << error;
  EXPECT_THAT(error, HasSubstr(dir_.Path("a/adapter_model.safetensors") + ": does not fit: "));
}

TEST_F(AdapterTest, MissingFilesAreNotFound) {
  EXPECT_THAT(OpenError(), HasSubstr("NOT_FOUND: there is no adapter directory"));
  ASSERT_TRUE(CreateDirectories(dir_.Path("a")).ok());
  EXPECT_THAT(OpenError(), HasSubstr("NOT_FOUND"));
  WriteConfig(R"({"peft_type":"LORA"})");
  ASSERT_TRUE(WriteFileAtomically(dir_.Path("a/adapter_model.bin"), "x").ok());
  EXPECT_THAT(OpenError(), HasSubstr("adapter_model.bin is not read"));
}

TEST_F(AdapterTest, PromptMustFitTheModel) {
  MethodConfig parts;
  parts.Set(SoftPromptConfig{.num_virtual_tokens = 5});
  ASSERT_TRUE(Write(parts, AdapterTensors({}, parts, gpt2_)).ok());
  gpt2_.n_positions = 5;
  EXPECT_THAT(OpenError(), HasSubstr("num_virtual_tokens: 5 leave no room in 5 positions"));
  gpt2_ = Tiny();
  gpt2_.n_embd = 8;
  EXPECT_THAT(OpenError(), HasSubstr("token_dim: 4, but the base model is 8 wide"));
}

TEST_F(AdapterTest, PromptOfNoTokensCarriesSavedModules) {
  MethodConfig parts;
  parts.Set(SoftPromptConfig{.num_virtual_tokens = 1});
  parts.Set(Saved({"ln_f"}));
  const AdapterTensors tensors({}, parts, gpt2_);
  ASSERT_TRUE(Write(parts, tensors).ok());
  WriteConfig(absl::StrReplaceAll(File("adapter_config.json"),
                                  {{"\"num_virtual_tokens\": 1", "\"num_virtual_tokens\": 0"}}));
  std::vector<TensorView> views;
  for (const char* name : {"ln_f.weight", "ln_f.bias"}) {
    views.push_back({{absl::StrCat("base_model.transformer.", name), DType::kF32, {4}},
                     std::as_bytes(std::span(tensors.data.at(name)))});
  }
  views.push_back({{"prompt_embeddings", DType::kF32, {0, 4}}, {}});
  ASSERT_TRUE(WriteSafetensorsFile(dir_.Path("a/adapter_model.safetensors"), views).ok());
  const absl::StatusOr<AdapterFolder> folder = AdapterFolder::Open(dir_.Path("a"), gpt2_);
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_FALSE(folder->parts().Has("soft_prompt"));
  EXPECT_THAT(folder->parts().Find<LastLayersConfig>()->modules, ElementsAre("ln_f"));
  EXPECT_EQ(folder->tensors().size(), 2u);
}

TEST_F(AdapterTest, ReadmeShowsHowToLoad) {
  MethodConfig parts;
  parts.Set(C({"c_attn"}));
  EXPECT_EQ(*PeftSnippet(parts, options_, "out/a \"b\""),
            "from peft import PeftModel\n"
            "from transformers import AutoModelForCausalLM\n\n"
            "model = AutoModelForCausalLM.from_pretrained(\"my/base\")\n"
            "model = PeftModel.from_pretrained(model, \"out/a \\\"b\\\"\")\n");
  RoundTrip(parts, Modules({"c_attn"}, {}));
  EXPECT_THAT(File("README.md"),
              AllOf(HasSubstr("base_model: \"my/base\""), HasSubstr("library_name: peft"),
                    Not(HasSubstr("load_adapter"))));
}

}  // namespace
}  // namespace graft
