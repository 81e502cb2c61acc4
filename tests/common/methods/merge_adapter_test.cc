#include "common/methods/merge_adapter.h"

#include <cmath>

#include "common/base/file.h"
#include "common/formats/float_convert.h"
#include "common/methods/dora.h"
#include "common/methods/prefix_tuning.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/formats/test_model.h"
#include "tests/common/methods/test_adapter.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

std::vector<double> Values(const TensorView& tensor) {
  std::vector<double> values(tensor.bytes.size() / ItemSizeBytes(tensor.dtype));
  ReadFloats(tensor, 0, std::span(values));
  return values;
}

class MergeAdapterTest : public ::testing::Test {
 protected:
  // LoRA of rank 2 on the layers' c_attn.
  static MethodConfig LoraParts(std::vector<int64_t> layers = {}) {
    MethodConfig parts;
    parts.Set(LoraConfig{.rank = 2, .alpha = 3, .layers = std::move(layers)});
    return parts;
  }

  AdapterTensors Write(const MethodConfig& parts, const TestModel& base) {
    std::vector<LoraModule> modules;
    if (const LoraConfig* lora = parts.Find<LoraConfig>(); lora != nullptr) {
      PeftLoraConfig peft;
      peft.rank = lora->rank;
      peft.target_modules = lora->target_modules;
      peft.layers_to_transform = lora->layers;
      for (const std::string& saved : SavedModules(parts, base.config.n_layer)) {
        peft.modules_to_save.push_back(PeftModulePath(saved));
      }
      modules = *ResolveLoraModules(peft, base.config);
    }
    AdapterTensors tensors(modules, parts, base.config);
    // So large that rounding in single precision would show, were it done on the way.
    for (auto& [name, values] : tensors.data) {
      for (float& value : values) value = std::sqrt(value);
    }
    EXPECT_TRUE(WriteAdapter(dir_.Path("adapter"), base.config, parts, tensors.infos,
                             [&](const TensorInfo& tensor) { return tensors.Get(tensor); }, {})
                    .ok());
    EXPECT_TRUE(WriteModelFolder(
                    dir_.Path("base"), base.config, base.Infos(),
                    [&](const TensorInfo& tensor) -> absl::StatusOr<std::span<const std::byte>> {
                      return std::as_bytes(std::span(base.data.at(tensor.name)));
                    },
                    dir_.Path("base"))
                    .ok());
    return tensors;
  }

  absl::Status Merge(DType dtype = DType::kF32, int64_t piece_bytes = 24) {
    const auto merged = MergedModel::Open(dir_.Path("base"), dir_.Path("adapter"), dtype);
    if (!merged.ok()) return merged.status();
    config_json_ = (*merged)->ConfigJson();
    absl::StatusOr<SafetensorsStream> stream = (*merged)->Weights();
    if (!stream.ok()) return stream.status();
    weights_.clear();
    for (std::string piece = *stream->Next(piece_bytes); !piece.empty();
         piece = *stream->Next(piece_bytes)) {
      weights_ += piece;
    }
    EXPECT_EQ(stream->size_bytes(), static_cast<int64_t>(weights_.size()));
    EXPECT_TRUE(CreateDirectories(dir_.Path("merged")).ok());
    EXPECT_TRUE(WriteFileAtomically(dir_.Path("merged/config.json"), config_json_).ok());
    return WriteFileAtomically(dir_.Path("merged/model.safetensors"), weights_);
  }
  ModelFolder Merged() { return *ModelFolder::Open(dir_.Path("merged")); }

  // Checks W + scaling · (B·A)ᵀ of a module, from its definition.
  static void ExpectAdded(const ModelFolder& merged, const TestModel& base,
                          const AdapterTensors& tensors, const std::string& module, int64_t in,
                          int64_t out, double scaling) {
    const std::vector<double> found = Values(*merged.Find(module + ".weight"));
    const std::vector<float>& a = tensors.data.at(module + ".lora_A");
    const std::vector<float>& b = tensors.data.at(module + ".lora_B");
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t o = 0; o < out; ++o) {
        double expected = base.data.at(module + ".weight")[i * out + o];
        for (int64_t r = 0; r < 2; ++r) {
          expected += scaling * static_cast<double>(a[r * in + i]) * b[o * 2 + r];
        }
        ASSERT_FLOAT_EQ(found[i * out + o], static_cast<float>(expected)) << module << i << o;
      }
    }
  }
  static void ExpectAsInBase(const ModelFolder& merged, const TestModel& base,
                             const std::string& name) {
    const std::vector<double> found = Values(*merged.Find(name));
    const std::vector<float>& expected = base.data.at(name);
    EXPECT_TRUE(std::equal(found.begin(), found.end(), expected.begin(), expected.end())) << name;
  }

  TempDir dir_;
  std::string config_json_;
  std::string weights_;
};

TEST_F(MergeAdapterTest, LoraIsAddedToTheWeightsThatItActsOnAndToNoOther) {
  const TestModel base;
  const AdapterTensors tensors = Write(LoraParts({1}), base);
  ASSERT_TRUE(Merge().ok());
  const ModelFolder merged = Merged();
  EXPECT_TRUE(merged.config().tie_word_embeddings);
  ExpectAdded(merged, base, tensors, "h.1.attn.c_attn", 4, 12, 1.5);
  for (const TensorInfo& tensor : base.Infos()) {
    if (tensor.name != "h.1.attn.c_attn.weight") ExpectAsInBase(merged, base, tensor.name);
  }
}

TEST_F(MergeAdapterTest, WeightsThatAreNotSquareAndRslora) {
  const TestModel base;
  MethodConfig parts = LoraParts();
  parts.Get<LoraConfig>().target_modules = {"c_fc", "mlp.c_proj"};
  parts.Get<LoraConfig>().use_rslora = true;
  const AdapterTensors tensors = Write(parts, base);
  ASSERT_TRUE(Merge().ok());
  for (const char* block : {"h.0", "h.1"}) {
    ExpectAdded(Merged(), base, tensors, absl::StrCat(block, ".mlp.c_fc"), 4, 16, 3 / std::sqrt(2));
    ExpectAdded(Merged(), base, tensors, absl::StrCat(block, ".mlp.c_proj"), 16, 4,
                3 / std::sqrt(2));
  }
}

TEST_F(MergeAdapterTest, ColumnsOfADoraAreAsLongAsItsMagnitudeSays) {
  const TestModel base;
  PeftLoraConfig peft;
  peft.rank = 2;
  peft.target_modules = {"mlp.c_proj"};
  MethodConfig parts;
  parts.Set(DoraConfig{{.rank = 2, .alpha = 3, .target_modules = {"mlp.c_proj"}}});
  parts.Get<DoraConfig>().modules = *ResolveLoraModules(peft, base.config);
  const AdapterTensors tensors = Write(parts, base);
  ASSERT_TRUE(Merge().ok());
  for (const std::string block : {"h.0", "h.1"}) {
    const std::string module = block + ".mlp.c_proj";
    const std::vector<double> found = Values(*Merged().Find(module + ".weight"));
    const std::vector<float>& magnitude = tensors.data.at(module + ".lora_magnitude_vector");
    const std::vector<float>& a = tensors.data.at(module + ".lora_A");
    const std::vector<float>& b = tensors.data.at(module + ".lora_B");
    for (int64_t o = 0; o < 4; ++o) {
      std::vector<double> column(16);
      double squares = 0;
      for (int64_t i = 0; i < 16; ++i) {
        column[i] = base.data.at(module + ".weight")[i * 4 + o];
        for (int64_t r = 0; r < 2; ++r) column[i] += 1.5 * double{a[r * 16 + i]} * b[o * 2 + r];
        squares += column[i] * column[i];
      }
      for (int64_t i = 0; i < 16; ++i) {
        ASSERT_FLOAT_EQ(found[i * 4 + o],
                        static_cast<float>(column[i] * magnitude[o] / std::sqrt(squares)));
      }
    }
  }
  ExpectAsInBase(Merged(), base, "h.0.attn.c_attn.weight");
}

TEST_F(MergeAdapterTest, APrefixIsNoWeight) {
  Write(MethodConfig().Set(PrefixTuningConfig{.num_virtual_tokens = 2}), TestModel());
  const absl::Status merged = Merge();
  EXPECT_EQ(merged.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(merged.message()), HasSubstr("a prefix of 2 virtual tokens"));
}

TEST_F(MergeAdapterTest, SavedModulesTakeTheBasesPlaceAndAHeadIsUntied) {
  const TestModel base;
  MethodConfig parts = LoraParts();
  parts.Set(Saved({"h.1", "lm_head"}));
  const AdapterTensors tensors = Write(parts, base);
  ASSERT_TRUE(Merge().ok());
  const ModelFolder merged = Merged();
  EXPECT_FALSE(merged.config().tie_word_embeddings);
  EXPECT_THAT(config_json_, HasSubstr("\"tie_word_embeddings\": false"));
  for (const char* name : {"h.1.attn.c_attn.weight", "h.1.ln_2.bias", "lm_head.weight"}) {
    const std::vector<double> found = Values(*merged.Find(name));
    const std::vector<float>& expected = tensors.data.at(name);
    EXPECT_TRUE(std::equal(found.begin(), found.end(), expected.begin(), expected.end())) << name;
  }
  ExpectAdded(merged, base, tensors, "h.0.attn.c_attn", 4, 12, 1.5);
  ExpectAsInBase(merged, base, "wte.weight");
}

TEST_F(MergeAdapterTest, AnUntiedBaseKeepsItsHead) {
  const TestModel base(/*tied=*/false);
  Write(LoraParts(), base);
  ASSERT_TRUE(Merge().ok());
  ExpectAsInBase(Merged(), base, "lm_head.weight");
}

TEST_F(MergeAdapterTest, PiecesDoNotChangeTheBytes) {
  Write(LoraParts(), TestModel());
  ASSERT_TRUE(Merge(DType::kF32, 8).ok());
  const std::string first = weights_;
  ASSERT_TRUE(Merge(DType::kF32, 1 << 20).ok());
  EXPECT_EQ(weights_, first);
}

TEST_F(MergeAdapterTest, WeightsAreOfTheDtypeThatWasAskedFor) {
  const TestModel base;
  Write(LoraParts(), base);
  ASSERT_TRUE(Merge(DType::kBF16).ok());
  EXPECT_THAT(config_json_, HasSubstr("\"dtype\": \"bfloat16\""));
  std::vector<DType> dtypes;
  const ModelFolder merged = Merged();
  for (const TensorView& tensor : merged.tensors()) dtypes.push_back(tensor.dtype);
  EXPECT_THAT(dtypes, Each(DType::kBF16));
  EXPECT_EQ(Merge(DType::kI32).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(MergeAdapterTest, ASoftPromptIsRefusedWithWhatToDo) {
  MethodConfig parts = LoraParts();
  parts.Set(SoftPromptConfig{.num_virtual_tokens = 3});
  Write(parts, TestModel());
  const absl::Status status = Merge();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("soft prompt of 3 virtual tokens"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("PEFT"));
}

}  // namespace
}  // namespace graft
