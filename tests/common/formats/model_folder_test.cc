#include "common/formats/model_folder.h"

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/formats/test_model.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ModelFolderTest : public ::testing::Test {
 protected:
  void Write(const TestModel& model, const std::string& prefix = "transformer.") {
    ASSERT_TRUE(WriteFileAtomically(dir_.Path("config.json"), Gpt2ConfigJson(model.config)).ok());
    ASSERT_TRUE(WriteSafetensorsFile(dir_.Path("model.safetensors"), model.Views(prefix)).ok());
  }
  absl::StatusOr<ModelFolder> Open() { return ModelFolder::Open(dir_.path()); }
  std::string Error() { return std::string(Open().status().message()); }
  // Does the open folder hold the model's values under its plain names?
  void ExpectHolds(const TestModel& model) {
    const absl::StatusOr<ModelFolder> folder = Open();
    ASSERT_TRUE(folder.ok()) << folder.status();
    EXPECT_EQ(folder->tensors().size(),
              Gpt2TensorShapes(folder->config(), !folder->config().tie_word_embeddings).size());
    for (const TensorView& tensor : folder->tensors()) {
      const std::vector<float>& values = model.data.at(tensor.name);
      ASSERT_EQ(tensor.bytes.size(), values.size() * 4) << tensor.name;
      EXPECT_EQ(std::memcmp(tensor.bytes.data(), values.data(), tensor.bytes.size()), 0)
          << tensor.name;
    }
  }

  TempDir dir_;
};

TEST_F(ModelFolderTest, PrefixedAndPlainNamesReadAlike) {
  const TestModel model;
  Write(model, "transformer.");
  ExpectHolds(model);
  Write(model, "");
  ExpectHolds(model);
  EXPECT_EQ(Open()->Find("transformer.wte.weight"), nullptr);
  EXPECT_EQ(Open()->Find("h.1.mlp.c_fc.weight")->shape, (std::vector<int64_t>{4, 16}));
}

TEST_F(ModelFolderTest, HeadIsTiedUnlessTheStoredOneDiffers) {
  TestModel model;
  Write(model);
  EXPECT_TRUE(Open()->config().tie_word_embeddings);

  model.Set("lm_head.weight", {11, 4}, model.data["wte.weight"]);
  Write(model);
  EXPECT_TRUE(Open()->config().tie_word_embeddings);
  EXPECT_EQ(Open()->Find("lm_head.weight"), nullptr);
  EXPECT_TRUE(Open()->unused().empty());

  model.data["lm_head.weight"][7] += 1;
  Write(model);
  EXPECT_FALSE(Open()->config().tie_word_embeddings);
  ExpectHolds(model);

  const TestModel untied(false);
  Write(untied);
  EXPECT_FALSE(Open()->config().tie_word_embeddings);
  ExpectHolds(untied);
}

TEST_F(ModelFolderTest, UntiedModelNeedsItsHead) {
  TestModel model(false);
  model.Erase("lm_head.weight");
  Write(model);
  EXPECT_THAT(Error(), HasSubstr("lm_head.weight [11, 4] is missing"));
}

TEST_F(ModelFolderTest, AttentionMaskBuffersOfOldFilesAreIgnored) {
  TestModel model;
  model.Set("h.0.attn.bias", {1, 1, 8, 8}, std::vector<float>(64));
  model.Set("h.0.attn.masked_bias", {}, {-1e4f});
  model.Set("score.weight", {2, 4}, std::vector<float>(8));
  Write(model);
  ExpectHolds(model);
  EXPECT_THAT(Open()->unused(), ElementsAre("transformer.score.weight"));
}

TEST_F(ModelFolderTest, AllThatIsWrongIsNamedAtOnce) {
  TestModel model;
  model.Erase("h.1.ln_1.bias");
  model.Erase("wpe.weight");
  model.Set("h.0.attn.c_attn.weight", {12, 4}, std::vector<float>(48));
  Write(model);
  EXPECT_THAT(Error(), AllOf(HasSubstr(dir_.path()), HasSubstr("h.1.ln_1.bias [4] is missing"),
                             HasSubstr("wpe.weight [8, 4] is missing"),
                             HasSubstr("h.0.attn.c_attn.weight has shape [12, 4], but config.json "
                                       "makes it [4, 12]"),
                             Not(HasSubstr("ln_f"))));
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ModelFolderTest, BiasThatNoLayerHasIsZero) {
  TestModel model;
  model.Erase("h.0.mlp.c_fc.bias");
  Write(model);
  EXPECT_THAT(Error(), HasSubstr("h.0.mlp.c_fc.bias [16] is missing"));
  model.Erase("h.1.mlp.c_fc.bias");
  Write(model);
  const absl::StatusOr<ModelFolder> folder = Open();
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_THAT(folder->zero_filled(), ElementsAre("mlp.c_fc.bias"));
  const TensorView* bias = folder->Find("h.1.mlp.c_fc.bias");
  EXPECT_THAT(bias->shape, ElementsAre(16));
  EXPECT_EQ(std::vector<std::byte>(bias->bytes.begin(), bias->bytes.end()),
            std::vector<std::byte>(64));
}

TEST_F(ModelFolderTest, TheSameTensorUnderBothNamesIsRefused) {
  TestModel model;
  model.Set("transformer.wte.weight", {11, 4}, model.data["wte.weight"]);
  Write(model, "");
  EXPECT_THAT(Error(), HasSubstr("wte.weight is stored twice"));
}

TEST_F(ModelFolderTest, IntegerWeightsAreRefused) {
  const TestModel model;
  std::vector<TensorView> views = model.Views();
  for (TensorView& view : views) {
    if (view.name == "ln_f.bias") view.dtype = DType::kI32;
  }
  Write(model);
  ASSERT_TRUE(WriteSafetensorsFile(dir_.Path("model.safetensors"), views).ok());
  EXPECT_THAT(Error(), HasSubstr("ln_f.bias is I32"));
}

TEST_F(ModelFolderTest, ShardsReadAsOneModel) {
  const TestModel model;
  Write(model);
  ASSERT_TRUE(RemoveFile(dir_.Path("model.safetensors")).ok());
  const std::vector<TensorView> views = model.Views("transformer.");
  std::string map;
  std::vector<std::vector<TensorView>> shards(3);
  for (size_t i = 0; i < views.size(); ++i) {
    shards[i % 3].push_back(views[i]);
    absl::StrAppend(&map, i == 0 ? "" : ",", "\"", views[i].name, "\":\"part-", i % 3,
                    ".safetensors\"");
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    ASSERT_TRUE(
        WriteSafetensorsFile(dir_.Path(absl::StrCat("part-", i, ".safetensors")), shards[i]).ok());
  }
  const std::string index = dir_.Path("model.safetensors.index.json");
  ASSERT_TRUE(WriteFileAtomically(index, absl::StrCat(R"({"weight_map":{)", map, "}}")).ok());
  ExpectHolds(model);
  EXPECT_THAT(Open()->weight_files(),
              ElementsAre("part-0.safetensors", "part-1.safetensors", "part-2.safetensors"));

  ASSERT_TRUE(RemoveFile(dir_.Path("part-1.safetensors")).ok());
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Error(), HasSubstr("part-1.safetensors"));
}

TEST_F(ModelFolderTest, ShardNamesCannotLeaveTheFolder) {
  const std::string index = dir_.Path("model.safetensors.index.json");
  Write(TestModel());
  ASSERT_TRUE(RemoveFile(dir_.Path("model.safetensors")).ok());
  for (const char* name : {"\"../x.safetensors\"", "\"/etc/passwd\"", "\"\"", "7", "\".hidden\""}) {
    ASSERT_TRUE(
        WriteFileAtomically(index, absl::StrCat(R"({"weight_map":{"wte.weight":)", name, "}}"))
            .ok());
    EXPECT_THAT(Error(), HasSubstr("names no plain file for 'wte.weight'")) << name;
  }
  ASSERT_TRUE(WriteFileAtomically(index, R"({"weight_map":{}})").ok());
  EXPECT_THAT(Error(), HasSubstr("0 shards"));
  ASSERT_TRUE(WriteFileAtomically(index, "{}").ok());
  EXPECT_THAT(Error(), HasSubstr("weight_map is missing"));
}

TEST_F(ModelFolderTest, WhatIsNotThereIsNotFound) {
  EXPECT_EQ(ModelFolder::Open(dir_.Path("none")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Error(), HasSubstr("config.json"));
  Write(TestModel());
  ASSERT_TRUE(RemoveFile(dir_.Path("model.safetensors")).ok());
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteFileAtomically(dir_.Path("pytorch_model.bin"), "x").ok());
  EXPECT_THAT(Error(), HasSubstr("pytorch_model.bin is not read"));
}

TEST_F(ModelFolderTest, TruncatedWeightsAreNamed) {
  Write(TestModel());
  const std::string path = dir_.Path("model.safetensors");
  const std::string content = *ReadFile(path, 1 << 20);
  ASSERT_TRUE(WriteFileAtomically(path, content.substr(0, content.size() - 10)).ok());
  EXPECT_THAT(Error(), AllOf(HasSubstr(path), HasSubstr("truncated")));
}

TEST_F(ModelFolderTest, BrokenConfigIsNamed) {
  Write(TestModel());
  ASSERT_TRUE(WriteFileAtomically(dir_.Path("config.json"), R"({"model_type":"bert"})").ok());
  EXPECT_THAT(Error(), AllOf(HasSubstr("config.json"), HasSubstr("model_type")));
}

TEST_F(ModelFolderTest, ManifestHashCountsTheFilesThatMatter) {
  Write(TestModel());
  ASSERT_TRUE(WriteFileAtomically(dir_.Path("vocab.json"), "{}").ok());
  const absl::StatusOr<ModelManifest> manifest = MakeModelManifest(dir_.path());
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  ASSERT_EQ(manifest->files.size(), 3u);
  EXPECT_EQ(manifest->files[2].path, "vocab.json");
  EXPECT_EQ(manifest->files[2].sha256, Sha256Hex("{}"));
  EXPECT_TRUE(CheckManifest(manifest->files).ok());

  ASSERT_TRUE(WriteFileAtomically(dir_.Path("README.md"), "no matter").ok());
  EXPECT_EQ(MakeModelManifest(dir_.path())->sha256, manifest->sha256);
  ASSERT_TRUE(WriteFileAtomically(dir_.Path("vocab.json"), "{ }").ok());
  EXPECT_NE(MakeModelManifest(dir_.path())->sha256, manifest->sha256);
}

TEST_F(ModelFolderTest, WrittenFolderOpensAgain) {
  const TempDir tokenizer;
  ASSERT_TRUE(WriteFileAtomically(tokenizer.Path("merges.txt"), "#version").ok());
  for (const bool tied : {true, false}) {
    const TestModel model(tied);
    const absl::Status status = WriteModelFolder(
        dir_.Path("out"), model.config, model.Infos(),
        [&](const TensorInfo& tensor) -> absl::StatusOr<std::span<const std::byte>> {
          return std::as_bytes(std::span(model.data.at(tensor.name)));
        },
        tokenizer.path());
    ASSERT_TRUE(status.ok()) << status;
    const absl::StatusOr<ModelFolder> folder = ModelFolder::Open(dir_.Path("out"));
    ASSERT_TRUE(folder.ok()) << folder.status();
    EXPECT_EQ(folder->config().tie_word_embeddings, tied);
    EXPECT_EQ(*ReadFile(dir_.Path("out/merges.txt"), 100), "#version");
    const absl::StatusOr<SafetensorsFile> file =
        SafetensorsFile::Open(dir_.Path("out/model.safetensors"));
    EXPECT_NE(file->Find("transformer.h.0.ln_1.weight"), nullptr);
    EXPECT_EQ(file->Find("lm_head.weight") != nullptr, !tied);
    for (const TensorView& tensor : folder->tensors()) {
      EXPECT_EQ(
          std::memcmp(tensor.bytes.data(), model.data.at(tensor.name).data(), tensor.bytes.size()),
          0);
    }
  }
}

TEST_F(ModelFolderTest, IncompleteModelIsNotWritten) {
  TestModel model;
  model.Erase("ln_f.bias");
  model.Set("extra", {1}, {1});
  const absl::Status status = WriteModelFolder(
      dir_.Path("out"), model.config, model.Infos(),
      [&](const TensorInfo&) -> absl::StatusOr<std::span<const std::byte>> {
        return absl::InternalError("asked for bytes");
      },
      dir_.path());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("ln_f.bias is missing"),
                                                   HasSubstr("extra is no tensor of this model")));
  EXPECT_FALSE(DirectoryExists(dir_.Path("out")));
}

TEST(RealModelTest, CheckpointsOfTransformersOpen) {
  const std::string tiny = SharedData("models/hf_tiny_gpt2");
  const std::string nano = SharedData("models/gpt_nano_sort");
  if (tiny.empty() || nano.empty())
    GTEST_SKIP() << "the real data is not there (GRAFT_SHARED_DATA)";
  const absl::StatusOr<ModelFolder> hf = ModelFolder::Open(tiny);
  ASSERT_TRUE(hf.ok()) << hf.status();
  EXPECT_TRUE(hf->config().tie_word_embeddings);
  EXPECT_EQ(hf->config().n_embd, 16);
  EXPECT_EQ(hf->config().eos_token_id, 50256);
  const absl::StatusOr<ModelManifest> manifest = MakeModelManifest(tiny);
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(manifest->files.size(), 7u);

  const absl::StatusOr<ModelFolder> sort = ModelFolder::Open(nano);
  ASSERT_TRUE(sort.ok()) << sort.status();
  EXPECT_FALSE(sort->config().tie_word_embeddings);
  EXPECT_THAT(sort->zero_filled(), ElementsAre("attn.c_attn.bias"));
  EXPECT_EQ(Gpt2ParameterCount(sort->config()), 85'296 + 3 * 144);
}

}  // namespace
}  // namespace graft
