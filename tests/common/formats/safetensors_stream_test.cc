#include "common/formats/safetensors_stream.h"

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/formats/test_model.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<std::string> ReadAll(SafetensorsStream stream, int64_t piece_bytes) {
  std::string file;
  bool header = true;
  while (true) {
    absl::StatusOr<std::string> piece = stream.Next(piece_bytes);
    if (!piece.ok()) return piece.status();
    if (piece->empty()) return file;
    const auto most = static_cast<size_t>(header ? kMaxSafetensorsHeaderBytes : piece_bytes);
    EXPECT_LE(piece->size(), most);
    header = false;
    file += *piece;
  }
}

// The stream of a model's tensors, and an empty one between them.
absl::StatusOr<SafetensorsStream> StreamOf(const TestModel& model) {
  std::vector<TensorInfo> tensors = model.Infos();
  tensors.push_back({"h.0.nothing", DType::kF32, {0, 4}});
  return SafetensorsStream::Create(
      tensors, kPyTorchMetadata,
      [&](const TensorInfo& tensor, int64_t first, int64_t count, std::string& bytes) {
        const float* values = model.data.at(tensor.name).data() + first;
        bytes.append(reinterpret_cast<const char*>(values), count * sizeof(float));
        return absl::OkStatus();
      });
}

TEST(SafetensorsStream, GivesTheBytesOfTheWriterInPiecesOfAnySize) {
  const TestModel model;
  std::vector<TensorView> views = model.Views();
  views.push_back({{"h.0.nothing", DType::kF32, {0, 4}}, {}});
  std::string expected;
  ASSERT_TRUE(WriteSafetensors(
                  {views.begin(), views.end()}, kPyTorchMetadata,
                  [&](const TensorInfo& tensor) -> absl::StatusOr<std::span<const std::byte>> {
                    for (const TensorView& view : views) {
                      if (view.name == tensor.name) return view.bytes;
                    }
                    return absl::NotFoundError(tensor.name);
                  },
                  [&](absl::string_view bytes) {
                    expected.append(bytes.data(), bytes.size());
                    return absl::OkStatus();
                  })
                  .ok());
  for (const int64_t piece_bytes : {8, 100, 1 << 20}) {
    const absl::StatusOr<SafetensorsStream> stream = StreamOf(model);
    ASSERT_TRUE(stream.ok()) << stream.status();
    EXPECT_EQ(stream->size_bytes(), static_cast<int64_t>(expected.size()));
    EXPECT_EQ(*ReadAll(*stream, piece_bytes), expected) << piece_bytes;
  }
}

TEST(SafetensorsStream, NamesTheTensorWhoseSourceFails) {
  const absl::StatusOr<SafetensorsStream> stream = SafetensorsStream::Create(
      {{"a", DType::kF32, {2}}}, {}, [](const TensorInfo&, int64_t, int64_t, std::string&) {
        return absl::DataLossError("gone");
      });
  const absl::Status status = ReadAll(*stream, 8).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tensor 'a'"));
}

TEST(SafetensorsStream, ANameThatIsThereTwiceIsRefused) {
  const auto stream = SafetensorsStream::Create(
      {{"a", DType::kF32, {2}}, {"a", DType::kF32, {2}}}, {},
      [](const TensorInfo&, int64_t, int64_t, std::string&) { return absl::OkStatus(); });
  EXPECT_EQ(stream.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace graft
