#include "common/formats/safetensors.h"

#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::span<const std::byte> Bytes(absl::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// A file from its JSON text and its data, whatever they are.
std::string FileOf(absl::string_view json, absl::string_view data) {
  std::string file;
  for (int shift = 0; shift < 64; shift += 8) {
    file.push_back(static_cast<char>(uint64_t{json.size()} >> shift & 0xff));
  }
  return absl::StrCat(file, json, data);
}

std::string SafetensorsErrorOf(absl::string_view file) {
  const absl::StatusOr<SafetensorsFile> parsed = SafetensorsFile::Parse(Bytes(file));
  if (parsed.ok()) return "no error";
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(parsed.status().message());
}

std::string Serialize(const std::vector<TensorView>& tensors,
                      const SafetensorsMetadata& metadata = kPyTorchMetadata) {
  std::string file;
  std::vector<TensorInfo> infos(tensors.begin(), tensors.end());
  const absl::Status status = WriteSafetensors(
      infos, metadata,
      [&](const TensorInfo& info) -> absl::StatusOr<std::span<const std::byte>> {
        for (const TensorView& tensor : tensors) {
          if (tensor.name == info.name) return tensor.bytes;
        }
        return absl::NotFoundError(info.name);
      },
      [&](absl::string_view bytes) {
        absl::StrAppend(&file, bytes);
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
  return file;
}

// ---- Golden headers: what PEFT 0.21.2 wrote for GPT-2 small (sizes and hashes of the real
// library's output) --------------

void ExpectHeader(std::vector<TensorInfo> tensors, size_t json_bytes, int64_t file_bytes,
                  absl::string_view sha256) {
  SortForSafetensors(tensors);
  const absl::StatusOr<std::string> header = MakeSafetensorsHeader(tensors, kPyTorchMetadata);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->size(), json_bytes + 8);
  EXPECT_EQ(Sha256Hex(*header), sha256);
  int64_t size = static_cast<int64_t>(header->size());
  for (const TensorInfo& tensor : tensors) size += *TensorSizeBytes(tensor.dtype, tensor.shape);
  EXPECT_EQ(size, file_bytes);
}

void AddLora(std::vector<TensorInfo>& tensors, absl::string_view module, int64_t rank, int64_t in,
             int64_t out) {
  const std::string prefix = absl::StrCat("base_model.model.transformer.h.", module);
  tensors.push_back({absl::StrCat(prefix, ".lora_A.weight"), DType::kF32, {rank, in}});
  tensors.push_back({absl::StrCat(prefix, ".lora_B.weight"), DType::kF32, {out, rank}});
}

TEST(SafetensorsWriterTest, LoraHeaderIsThatOfPeft) {
  std::vector<TensorInfo> tensors;
  for (int layer = 0; layer < 12; ++layer) {
    AddLora(tensors, absl::StrCat(layer, ".attn.c_attn"), 8, 768, 2304);
  }
  ExpectHeader(tensors, 3024, 1'182'680,
               "6d6bf8fe91d83e8ad913a73e3e55b7020e90de89ec1e1f313386bb637f82600f");
}

TEST(SafetensorsWriterTest, LoraOnFourModulesHeaderIsThatOfPeft) {
  std::vector<TensorInfo> tensors;
  for (int layer = 0; layer < 12; ++layer) {
    AddLora(tensors, absl::StrCat(layer, ".attn.c_attn"), 16, 768, 2304);
    AddLora(tensors, absl::StrCat(layer, ".attn.c_proj"), 16, 768, 768);
    AddLora(tensors, absl::StrCat(layer, ".mlp.c_fc"), 16, 768, 3072);
    AddLora(tensors, absl::StrCat(layer, ".mlp.c_proj"), 16, 3072, 768);
  }
  ExpectHeader(tensors, 12152, 9'449'344,
               "6f8b10dbc4ed282fb576ffd18addbe233d7828509277f86b325b088108efada2");
}

TEST(SafetensorsWriterTest, PromptAndPrefixHeadersAreThoseOfPeft) {
  ExpectHeader({{"prompt_embeddings", DType::kF32, {20, 768}}}, 112, 61'560,
               "049568d79c428c09e0352da11d463a2fbda39b994d5a76eba3ff3d8f6118b6cb");
  ExpectHeader({{"prompt_embeddings", DType::kF32, {20, 18432}}}, 120, 1'474'688,
               "e738af3760558ea7dd475e0a665cc49cf5eef03d0268b57cdd498fbaf5938c4b");
}

TEST(SafetensorsWriterTest, LastLayersHeaderIsThatOfPeft) {
  std::vector<TensorInfo> tensors;
  const auto add = [&](absl::string_view name, std::vector<int64_t> shape) {
    tensors.push_back({absl::StrCat("base_model.model.transformer.", name), DType::kF32, shape});
  };
  for (const char* block : {"h.10", "h.11"}) {
    for (const char* norm : {"ln_1", "ln_2"}) {
      add(absl::StrCat(block, ".", norm, ".weight"), {768});
      add(absl::StrCat(block, ".", norm, ".bias"), {768});
    }
    add(absl::StrCat(block, ".attn.c_attn.weight"), {768, 2304});
    add(absl::StrCat(block, ".attn.c_attn.bias"), {2304});
    add(absl::StrCat(block, ".attn.c_proj.weight"), {768, 768});
    add(absl::StrCat(block, ".attn.c_proj.bias"), {768});
    add(absl::StrCat(block, ".mlp.c_fc.weight"), {768, 3072});
    add(absl::StrCat(block, ".mlp.c_fc.bias"), {3072});
    add(absl::StrCat(block, ".mlp.c_proj.weight"), {3072, 768});
    add(absl::StrCat(block, ".mlp.c_proj.bias"), {768});
  }
  add("ln_f.weight", {768});
  add("ln_f.bias", {768});
  ExpectHeader(tensors, 3048, 56'712'176,
               "db98da97467c3bb52d145eb1df977bf195275a9d875ebae68aaf90e14449b4f2");
}

TEST(SafetensorsWriterTest, TensorsAreOrderedByDTypeThenByBytesOfTheName) {
  std::vector<TensorInfo> tensors;
  for (const DType dtype : {DType::kU8, DType::kF16, DType::kBF16, DType::kI32, DType::kF32,
                            DType::kF64, DType::kI64}) {
    tensors.push_back({absl::StrCat("t", DTypeName(dtype)), dtype, {1}});
  }
  for (const char* name : {"h.2", "c", "Z", "_", "h.10"})
    tensors.push_back({name, DType::kU8, {1}});
  SortForSafetensors(tensors);
  std::vector<std::string> names;
  for (const TensorInfo& tensor : tensors) names.push_back(tensor.name);
  EXPECT_THAT(names, ElementsAre("tI64", "tF64", "tF32", "tI32", "tBF16", "tF16", "Z", "_", "c",
                                 "h.10", "h.2", "tU8"));
}

TEST(SafetensorsWriterTest, WrongTensorsAreRefusedByName) {
  const auto error = [](std::vector<TensorInfo> tensors) {
    const absl::StatusOr<std::string> header = MakeSafetensorsHeader(tensors, {});
    return header.ok() ? "no error" : std::string(header.status().message());
  };
  EXPECT_THAT(error({{"a", DType::kU8, {1}}, {"a", DType::kU8, {1}}}), HasSubstr("'a'"));
  EXPECT_THAT(error({{"__metadata__", DType::kU8, {1}}}), HasSubstr("__metadata__"));
  EXPECT_THAT(error({{"a", DType::kU8, {-1}}}), HasSubstr("'a'"));
  EXPECT_THAT(error({{"a", DType::kF32, {1ll << 40, 1ll << 40}}}), HasSubstr("'a'"));
  EXPECT_THAT(error({{"a\xff", DType::kU8, {1}}}), HasSubstr("UTF-8"));
  EXPECT_THAT(error({{"a", DType::kU8, {1ll << 62}}, {"b", DType::kU8, {1ll << 62}}}),
              HasSubstr("2^63"));

  const TempDir directory;
  const float one = 1;
  const absl::Status status = WriteSafetensorsFile(
      directory.Path("never"), {{{"a", DType::kF32, {2}}, std::as_bytes(std::span(&one, 1))}});
  EXPECT_THAT(std::string(status.message()), HasSubstr("'a': 4 bytes given, but F32 [2] takes 8"));
  EXPECT_FALSE(FileExists(directory.Path("never")));
}

// ---- Reading
// ---------------------------------------------------------------------------------------------------------------

TEST(SafetensorsReaderTest, WrittenTensorsReadBack) {
  const std::vector<float> weights = {1, -2, 3.5, 0, 7, 8};
  const std::vector<int64_t> steps = {42};
  const TempDir directory;
  const std::string path = directory.Path("roundtrip.safetensors");
  ASSERT_TRUE(
      WriteSafetensorsFile(path,
                           {{{"w", DType::kF32, {2, 3}}, std::as_bytes(std::span(weights))},
                            {{"empty", DType::kF32, {0, 3}}, {}},
                            {{"scalar \"ü\"\n", DType::kI64, {}}, std::as_bytes(std::span(steps))}},
                           {{"format", "pt"}, {"step", "12"}})
          .ok());
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tensors().size(), 3u);
  EXPECT_EQ(file->metadata().at("step"), "12");
  const TensorView* w = file->Find("w");
  ASSERT_NE(w, nullptr);
  EXPECT_THAT(w->shape, ElementsAre(2, 3));
  EXPECT_EQ(w->bytes.size(), 24u);
  EXPECT_EQ(std::memcmp(w->bytes.data(), weights.data(), 24), 0);
  EXPECT_EQ(file->Find("scalar \"ü\"\n")->bytes[0], std::byte{42});
  EXPECT_TRUE(file->Find("empty")->bytes.empty());
  EXPECT_EQ(file->Find("none"), nullptr);
}

constexpr absl::string_view kA = R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
constexpr absl::string_view kB = R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]})";

std::string Two() { return FileOf(absl::StrCat("{", kA, ",", kB, "}"), "1234"); }

TEST(SafetensorsReaderTest, FieldsMayStandInAnyOrderAndWithSpaces) {
  EXPECT_EQ(SafetensorsErrorOf(FileOf(R"({ "b" : {"data_offsets":[2, 4], "shape":[2], "dtype":"U8"},
                                "a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]} }  )",
                                      "1234")),
            "no error");
  EXPECT_EQ(SafetensorsErrorOf(FileOf("{}", "")), "no error");
}

TEST(SafetensorsReaderTest, EveryTruncationIsNoticed) {
  const std::string file = Two();
  ASSERT_EQ(SafetensorsErrorOf(file), "no error");
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_NE(SafetensorsErrorOf(file.substr(0, size)), "no error") << size;
  }
  EXPECT_THAT(SafetensorsErrorOf(file.substr(0, file.size() - 1)), HasSubstr("truncated"));
  EXPECT_THAT(SafetensorsErrorOf(file + "x"), HasSubstr("the tensors end at byte 4"));
}

TEST(SafetensorsReaderTest, EveryChangedHeaderByteIsHarmless) {
  const std::string file = Two();
  for (size_t at = 0; at < file.size() - 4; ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = file;
      changed[at] = static_cast<char>(value);
      const absl::StatusOr<SafetensorsFile> parsed = SafetensorsFile::Parse(Bytes(changed));
      if (!parsed.ok()) continue;
      for (const TensorView& tensor : parsed->tensors()) {
        EXPECT_EQ(*TensorSizeBytes(tensor.dtype, tensor.shape),
                  static_cast<int64_t>(tensor.bytes.size()));
      }
    }
  }
}

struct HostileCase {
  const char* name;
  std::string file;
  const char* message;
};

std::string One(absl::string_view dtype, absl::string_view shape, absl::string_view offsets,
                absl::string_view data) {
  return FileOf(absl::StrCat(R"({"w":{"dtype":)", dtype, R"(,"shape":)", shape,
                             R"(,"data_offsets":)", offsets, "}}"),
                data);
}

std::vector<HostileCase> HostileCases() {
  return {
      {"empty file", "", "too few"},
      {"huge header", std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), "at most 100000000"},
      {"header over the limit", std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10), "at most 100000000"},
      {"header over the file", std::string("\x40\0\0\0\0\0\0\0{}", 10), "truncated"},
      {"no header", FileOf("", ""), "does not begin with {"},
      {"a list", FileOf("[]", ""), "does not begin with {"},
      {"leading space", FileOf(" {}", ""), "does not begin with {"},
      {"broken JSON", FileOf(R"({"a":)", ""), "not valid JSON"},
      {"text after the end", FileOf("{}x", ""), "not valid JSON"},
      {"two objects", FileOf("{}{}", ""), "not valid JSON"},
      {"zero padding", FileOf(std::string("{}\0\0", 4), ""), "not valid JSON"},
      {"bad UTF-8", FileOf("{\"\xff\":{}}", ""), "UTF-8"},
      {"deep nesting", FileOf("{\"a\":" + std::string(1'000'000, '['), ""), "a list where none"},
      {"deep objects", FileOf("{\"a\":{\"dtype\":{\"x\":{}}}}", ""), "an object where none"},
      {"tensor twice", FileOf(absl::StrCat("{", kA, ",", kA, "}"), "12"),
       "'a': the name is there twice"},
      {"metadata twice", FileOf(R"({"__metadata__":{},"__metadata__":{}})", ""), "twice"},
      {"metadata key twice", FileOf(R"({"__metadata__":{"k":"1","k":"2"}})", ""), "'k' twice"},
      {"metadata number", FileOf(R"({"__metadata__":{"k":1}})", ""), "holds texts"},
      {"metadata text", FileOf(R"({"__metadata__":"pt"})", ""), "holds texts"},
      {"tensor is null", FileOf(R"({"w":null})", ""), "'w': null"},
      {"tensor is a number", FileOf(R"({"w":1})", ""), "'w': a number"},
      {"fields missing", FileOf(R"({"w":{}})", ""), "'w': needs dtype"},
      {"unknown field", FileOf(R"({"w":{"x":1}})", ""), "'w': unknown field 'x'"},
      {"field twice", FileOf(R"({"w":{"dtype":"U8","dtype":"U8"}})", ""), "dtype is there twice"},
      {"unknown dtype", One(R"("F4")", "[1]", "[0,1]", "1"), "'w': unknown dtype F4"},
      {"dtype no text", One("7", "[1]", "[0,1]", "1"), "'w': a number"},
      {"negative dimension", One(R"("U8")", "[-1]", "[0,1]", "1"), "'w': a negative number"},
      {"fraction", One(R"("U8")", "[1.5]", "[0,1]", "1"), "'w': a number that is no"},
      {"dimension over 64 bits", One(R"("U8")", "[36893488147419103232]", "[0,1]", "1"), "'w'"},
      {"dimension over 63 bits", One(R"("U8")", "[9223372036854775808]", "[0,1]", "1"), "2^63"},
      {"product overflows to 0", One(R"("F32")", "[4611686018427387904,4]", "[0,0]", ""),
       "no possible shape"},
      {"product overflows to 4", One(R"("U8")", "[4294967297,4294967297,4]", "[0,4]", "1234"),
       "no possible shape"},
      {"too many dimensions", One(R"("U8")", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,1]", "1"),
       "more than 16"},
      {"one offset", One(R"("U8")", "[1]", "[1]", "1"), "two data_offsets"},
      {"three offsets", One(R"("U8")", "[1]", "[0,1,1]", "1"), "two numbers"},
      {"shape no list", One(R"("U8")", "1", "[0,1]", "1"), "'w': a number"},
      {"nested shape", One(R"("U8")", "[[1]]", "[0,1]", "1"), "'w': a list"},
      {"offsets backwards", One(R"("U8")", "[1]", "[1,0]", "1"), "run backwards"},
      {"size below the shape", One(R"("F32")", "[2]", "[0,4]", "1234"), "takes 8"},
      {"size over the shape", One(R"("F32")", "[1]", "[0,8]", "12345678"), "takes 4"},
      {"beyond the file", One(R"("U8")", "[9]", "[0,9]", "1"), "beyond the file"},
      {"hole at the start", One(R"("U8")", "[1]", "[1,2]", "12"), "hole"},
      {"bytes left over", One(R"("U8")", "[1]", "[0,1]", "12"), "the file at byte 2"},
      {"overlap", absl::StrReplaceAll(Two(), {{"[2,4]", "[1,3]"}}),
       "'b': data_offsets [1, 3] overlap"},
      {"hole", absl::StrReplaceAll(Two() + "5", {{"[2,4]", "[3,5]"}}),
       "'b': data_offsets [3, 5] leave"},
  };
}

TEST(SafetensorsReaderTest, HostileFilesAreRefusedWithTheReason) {
  for (const HostileCase& hostile : HostileCases()) {
    EXPECT_THAT(SafetensorsErrorOf(hostile.file), HasSubstr(hostile.message)) << hostile.name;
  }
}

TEST(SafetensorsReaderTest, LongNamesAreShortInMessages) {
  const std::string error =
      SafetensorsErrorOf(FileOf("{\"" + std::string(100'000, 'n') + "\":1}", ""));
  EXPECT_LT(error.size(), 400u);
}

TEST(SafetensorsReaderTest, HeaderAloneCanBeChecked) {
  const std::string file = Two();
  const absl::StatusOr<int64_t> size =
      SafetensorsHeaderSize(Bytes(file).first(8), static_cast<int64_t>(file.size()));
  ASSERT_TRUE(size.ok());
  const absl::StatusOr<SafetensorsHeader> header = ParseSafetensorsHeader(
      Bytes(file).first(static_cast<size_t>(*size)), static_cast<int64_t>(file.size()));
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->entries[1].name, "b");
  EXPECT_EQ(header->data_begin + header->entries[1].end, static_cast<int64_t>(file.size()));
}

TEST(SafetensorsReaderTest, FilesOfOtherProgramsAreWrittenBackByteForByte) {
  const char* data = std::getenv("GRAFT_SHARED_DATA");
  const std::string folder = data != nullptr ? data : JoinPath(GRAFT_SOURCE_DIR, "../shared/data");
  const std::string path = JoinPath(folder, "models/hf_tiny_gpt2/model.safetensors");
  if (!FileExists(path)) GTEST_SKIP() << path << " is not there (GRAFT_SHARED_DATA)";
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(Sha256Hex(Serialize(file->tensors(), file->metadata())), *Sha256HexOfFile(path));
}

}  // namespace
}  // namespace graft
