#include "common/formats/float_convert.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;

std::vector<double> Read(DType dtype, const std::string& bytes, int64_t first, size_t count) {
  TensorView view;
  view.dtype = dtype;
  view.bytes = std::as_bytes(std::span(bytes));
  std::vector<double> values(count);
  ReadFloats(view, first, std::span(values));
  return values;
}

uint16_t Half(DType dtype, double value) {
  std::string bytes;
  AppendFloats(std::span(&value, 1), dtype, bytes);
  uint16_t bits = 0;
  EXPECT_EQ(bytes.size(), sizeof(bits));
  std::memcpy(&bits, bytes.data(), sizeof(bits));
  return bits;
}

TEST(FloatConvert, WideTypesAreReadFromWhereTheyAreAskedFor) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    std::string bytes;
    AppendFloats(std::vector<double>{1, -2.5, 0.1}, dtype, bytes);
    const double tenth = dtype == DType::kF64 ? 0.1 : static_cast<double>(0.1f);
    EXPECT_THAT(Read(dtype, bytes, 1, 2), ElementsAre(-2.5, tenth));
  }
}

TEST(FloatConvert, EveryHalfComesBackAsItWas) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    for (int bits = 0; bits < 0x10000; ++bits) {
      const auto half = static_cast<uint16_t>(bits);
      const std::string bytes(reinterpret_cast<const char*>(&half), sizeof(half));
      const double value = Read(dtype, bytes, 0, 1)[0];
      if (std::isnan(value)) {
        const uint16_t again = Half(dtype, value);
        const std::string nan(reinterpret_cast<const char*>(&again), sizeof(again));
        EXPECT_TRUE(std::isnan(Read(dtype, nan, 0, 1)[0])) << bits;
      } else {
        EXPECT_EQ(Half(dtype, value), half) << value;
      }
    }
  }
}

TEST(FloatConvert, HalvesHaveTheValuesOfTheirFormat) {
  EXPECT_EQ(Half(DType::kF16, 1), 0x3c00);
  EXPECT_EQ(Half(DType::kF16, -2), 0xc000);
  EXPECT_EQ(Half(DType::kF16, 65504), 0x7bff);
  EXPECT_EQ(Half(DType::kF16, 0x1p-24), 0x0001);
  EXPECT_EQ(Half(DType::kF16, 0x1p-14), 0x0400);
  EXPECT_EQ(Half(DType::kBF16, 1), 0x3f80);
  EXPECT_EQ(Half(DType::kBF16, -3.140625), 0xc049);
}

TEST(FloatConvert, TiesGoToTheEvenNeighbourAndTheTooLargeBecomesInfinite) {
  EXPECT_EQ(Half(DType::kF16, 1 + 0x1p-11), 0x3c00);
  EXPECT_EQ(Half(DType::kF16, 1 + 3 * 0x1p-11), 0x3c02);
  EXPECT_EQ(Half(DType::kF16, 1 + 0x1p-11 + 0x1p-20), 0x3c01);
  EXPECT_EQ(Half(DType::kF16, 0x1p-25), 0x0000);
  EXPECT_EQ(Half(DType::kF16, 2 - 0x1p-12), 0x4000);  // The carry reaches the exponent.
  EXPECT_EQ(Half(DType::kF16, 65519), 0x7bff);
  EXPECT_EQ(Half(DType::kF16, 65520), 0x7c00);
  EXPECT_EQ(Half(DType::kF16, -1e9), 0xfc00);
  EXPECT_EQ(Half(DType::kBF16, 1 + 0x1p-8), 0x3f80);
  EXPECT_EQ(Half(DType::kBF16, 1 + 3 * 0x1p-8), 0x3f82);
  EXPECT_EQ(Half(DType::kBF16, std::numeric_limits<float>::max()), 0x7f80);
}

}  // namespace
}  // namespace graft
