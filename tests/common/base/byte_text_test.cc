#include "common/base/byte_text.h"

#include "gtest/gtest.h"

namespace graft {
namespace {

TEST(ByteTextTest, BytesReadWell) {
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1234), "1.2 kB");
  EXPECT_EQ(FormatBytes(45'600'000), "46 MB");
  EXPECT_EQ(FormatBytes(999'600'000'000), "1.0 TB");
}

}  // namespace
}  // namespace graft
