#include "common/methods/adapter_export.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/methods/dora.h"
#include "common/methods/peft_lora.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/formats/test_model.h"
#include "tests/common/methods/test_adapter.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

class AdapterExportTest : public ::testing::Test {
 protected:
  // Writes an adapter as jobs leave it: with graft.json and a log that it does not list.
  AdapterTensors Write(const MethodConfig& parts, const std::vector<LoraModule>& modules = {}) {
    AdapterTensors tensors(modules, parts, gpt2_);
    const auto files = WriteAdapter(dir_.Path("stored"), gpt2_, parts, tensors.infos,
                                    [&](const TensorInfo& tensor) { return tensors.Get(tensor); },
                                    {.base_model_name = "my/base"});
    EXPECT_TRUE(files.ok()) << files.status();
    nlohmann::json json = {{"name", "mine"}, {"files", nlohmann::json::array()}};
    for (const std::string& path : *files) {
      Add(path);
      json["files"].push_back({{"path", path}, {"sha256", stored_.back().sha256}});
    }
    AddText("graft.json", json.dump());
    AddText("metrics.jsonl", "{}\n");
    return tensors;
  }
  void Add(const std::string& path) { stored_.push_back(*DescribeFile(dir_.Path("stored"), path)); }
  void AddText(const std::string& path, const std::string& text) {
    ASSERT_TRUE(CreateDirectories(dir_.Path("stored")).ok());
    ASSERT_TRUE(WriteFileAtomically(dir_.Path("stored/" + path), text).ok());
    Add(path);
  }
  // A LoRA on c_attn, its configuration as it comes from outside.
  void WriteForeign(const std::string& fields, std::vector<std::string> saved = {}) {
    MethodConfig parts;
    parts.Set(LoraConfig{.rank = 2});
    std::vector<LoraModule> modules = CAttn();
    std::erase_if(modules, [&](const LoraModule& module) {
      return std::find(saved.begin(), saved.end(), absl::StrCat("h.", module.layer)) != saved.end();
    });
    if (!saved.empty()) parts.Set(Saved(std::move(saved)));
    Write(parts, modules);
    stored_.clear();
    Add("adapter_model.safetensors");
    AddText("adapter_config.json",
            absl::StrCat(R"({"peft_type": "LORA", "r": 2, "lora_alpha": 16, )", fields, "}"));
  }

  absl::Status Export(const std::string& peft_version) {
    auto made =
        AdapterExport::Make(dir_.Path("stored"), stored_, gpt2_, {.peft_version = peft_version});
    if (!made.ok()) return made.status();
    files_.clear();
    for (const ManifestFile& file : (*made)->kept()) {
      files_[file.path] = *ReadFile(dir_.Path("stored/" + file.path), 1 << 20);
    }
    for (const AdapterFile& file : (*made)->made()) {
      files_[file.path] = file.tensors.empty() ? file.text : ReadAll(**made, file);
    }
    for (const auto& [path, content] : files_) {
      const std::string full = dir_.Path("exported/" + path);
      EXPECT_TRUE(CreateDirectories(DirectoryOf(full)).ok());
      EXPECT_TRUE(WriteFileAtomically(full, content).ok());
    }
    return absl::OkStatus();
  }
  static std::string ReadAll(const AdapterExport& exported, const AdapterFile& file) {
    SafetensorsStream stream = *exported.Weights(file);
    std::string content;
    for (std::string piece = *stream.Next(16); !piece.empty(); piece = *stream.Next(16)) {
      content += piece;
    }
    return content;
  }
  std::vector<std::string> Paths() const {
    std::vector<std::string> paths;
    for (const auto& [path, content] : files_) paths.push_back(path);
    return paths;
  }
  // What was exported opens and has the tensors that were written.
  void ExpectSame(const AdapterTensors& tensors) {
    const auto opened = AdapterFolder::Open(dir_.Path("exported"), gpt2_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(opened->tensors().size(), tensors.infos.size());
    for (const TensorInfo& tensor : tensors.infos) {
      const TensorView* found = opened->Find(tensor.name);
      ASSERT_NE(found, nullptr) << tensor.name;
      EXPECT_TRUE(std::ranges::equal(found->bytes, *tensors.Get(tensor))) << tensor.name;
    }
  }
  std::vector<LoraModule> CAttn() const {
    PeftLoraConfig peft;
    peft.rank = 2;
    peft.target_modules = {"c_attn"};
    return *ResolveLoraModules(peft, gpt2_);
  }
  nlohmann::json Json(const std::string& path) { return nlohmann::json::parse(files_.at(path)); }

  TempDir dir_;
  Gpt2Config gpt2_ = TestModel().config;
  std::vector<ManifestFile> stored_;
  std::map<std::string, std::string> files_;
};

TEST_F(AdapterExportTest, ALoraGetsTheFieldsOfTheReleaseAndKeepsTheRest) {
  MethodConfig parts;
  parts.Set(LoraConfig{.rank = 2});
  const AdapterTensors tensors = Write(parts, CAttn());
  ASSERT_TRUE(Export("0.10").ok());
  EXPECT_THAT(Paths(),
              UnorderedElementsAre("README.md", "adapter_config.json", "adapter_model.safetensors",
                                   "graft.json", "metrics.jsonl"));
  EXPECT_EQ(Json("adapter_config.json").size(), 24u);
  ExpectSame(tensors);
}

TEST_F(AdapterExportTest, ADoraIsForReleasesFrom014) {
  MethodConfig parts;
  parts.Set(DoraConfig{{.rank = 2}});
  parts.Get<DoraConfig>().modules = CAttn();
  const AdapterTensors tensors = Write(parts);
  for (const char* release : {"0.14", "0.15", "0.17"}) {
    ASSERT_TRUE(Export(release).ok()) << Export(release);
    EXPECT_EQ(Json("adapter_config.json")["use_dora"], true) << release;
    ExpectSame(tensors);
  }
  EXPECT_THAT(Export("0.10").message(), HasSubstr("0.14"));
}

TEST_F(AdapterExportTest, GraftJsonSaysWhatIsHereAndForWhom) {
  MethodConfig parts;
  parts.Set(LoraConfig{.rank = 2});
  Write(parts, CAttn());
  ASSERT_TRUE(Export("0.10").ok());
  const nlohmann::json json = Json("graft.json");
  EXPECT_EQ(json["name"], "mine");
  EXPECT_EQ(json["exported_for"]["peft_version"], "0.10");
  EXPECT_EQ(json["load_order"], nlohmann::json{""});
  std::vector<std::string> listed;
  for (const nlohmann::json& file : json["files"]) {
    listed.push_back(file["path"]);
    EXPECT_EQ(file["sha256"], Sha256Hex(files_.at(file["path"]))) << listed.back();
    EXPECT_EQ(file["size_bytes"], files_.at(file["path"]).size());
  }
  EXPECT_THAT(listed, UnorderedElementsAre("README.md", "adapter_config.json",
                                           "adapter_model.safetensors"));
}

TEST_F(AdapterExportTest, APromptWithModulesBecomesTwoDirectoriesBefore017) {
  MethodConfig parts;
  parts.Set(SoftPromptConfig{.num_virtual_tokens = 2});
  parts.Set(Saved({"h.1", "ln_f"}));
  const AdapterTensors tensors = Write(parts);
  ASSERT_TRUE(Export("0.15").ok());
  EXPECT_THAT(Paths(), UnorderedElementsAre("README.md", "graft.json", "lora/adapter_config.json",
                                            "lora/adapter_model.safetensors", "metrics.jsonl",
                                            "soft_prompt/adapter_config.json",
                                            "soft_prompt/adapter_model.safetensors"));
  ExpectSame(tensors);
  EXPECT_THAT(files_.at("README.md"), AllOf(HasSubstr("merge_and_unload"), HasSubstr("my/base")));
  EXPECT_EQ(Json("graft.json")["load_order"], (nlohmann::json{"lora", "soft_prompt"}));
  EXPECT_EQ(Json("graft.json")["files"].size(), 5u);
  ASSERT_TRUE(Export("0.17").ok());
  EXPECT_TRUE(files_.contains("adapter_model.safetensors"));
}

TEST_F(AdapterExportTest, EveryBlockWithoutLoraNeeds014) {
  MethodConfig parts;
  parts.Set(Saved({"h.0", "h.1"}));
  Write(parts);
  const absl::Status status = Export("0.10");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("before 0.14"));
  EXPECT_TRUE(Export("0.14").ok());
}

TEST_F(AdapterExportTest, AFieldThatTheReleaseLacksIsNamedWithTheOneThatHasIt) {
  WriteForeign(R"("target_modules": ["c_attn", "c_proj"], "exclude_modules": ["c_proj"])");
  const absl::Status status = Export("0.10");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("adapter_config.json"), HasSubstr("exclude_modules"),
                    HasSubstr("0.14.0 does")));
  EXPECT_TRUE(Export("0.14").ok());
}

TEST_F(AdapterExportTest, OldReleasesAreToldWhichLayersAreNotSavedWhole) {
  WriteForeign(R"("target_modules": ["c_attn"], "modules_to_save": ["transformer.h.1"])", {"h.1"});
  ASSERT_TRUE(Export("0.10").ok());
  EXPECT_EQ(Json("adapter_config.json")["layers_to_transform"], nlohmann::json{0});
  ASSERT_TRUE(Export("0.17").ok());
  EXPECT_TRUE(Json("adapter_config.json")["layers_to_transform"].is_null());
}

TEST_F(AdapterExportTest, AnExpressionThatMeansSavedModulesTooIsRefusedForOldReleases) {
  WriteForeign(R"("target_modules": ".*c_attn", "modules_to_save": ["transformer.h.1"])", {"h.1"});
  const absl::Status status = Export("0.10");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("target_modules"));
  EXPECT_TRUE(Export("0.17").ok());
}

TEST_F(AdapterExportTest, PatternsOfDifferentKeysAreRefusedForOldReleases) {
  WriteForeign(R"("target_modules": ["c_attn"], "rank_pattern": {"c_attn": 2},
                  "alpha_pattern": {"h.1.attn.c_attn": 4})");
  const absl::Status status = Export("0.10");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank_pattern and alpha_pattern"));
  EXPECT_TRUE(Export("0.17").ok());
}

TEST_F(AdapterExportTest, AnUnknownReleaseIsRefused) {
  MethodConfig parts;
  parts.Set(SoftPromptConfig{.num_virtual_tokens = 2});
  Write(parts);
  for (const char* version : {"0.9", "1.0", "newest"}) {
    const absl::Status status = Export(version);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("0.10 to 0.21 are known"));
  }
}

}  // namespace
}  // namespace graft
