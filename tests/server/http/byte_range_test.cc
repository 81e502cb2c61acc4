#include "server/http/byte_range.h"

#include "gtest/gtest.h"

namespace graft {
namespace {

TEST(ByteRangeTest, OneRangeFromABeginning) {
  const auto open = ParseByteRange("bytes=100-");
  ASSERT_TRUE(open);
  EXPECT_EQ(open->first, 100);
  EXPECT_FALSE(open->last);
  const auto closed = ParseByteRange("bytes=0-0");
  ASSERT_TRUE(closed);
  EXPECT_EQ(closed->first, 0);
  EXPECT_EQ(closed->last, 0);
}

TEST(ByteRangeTest, OtherFormsMeanTheWholeFile) {
  for (const char* header :
       {"", "bytes=", "bytes=-", "bytes=-5", "bytes=5", "bytes=5-4", "bytes=0-1,5-6", "lines=0-1",
        "bytes=+1-", "bytes= 1-2", "bytes=1-x", "bytes=99999999999999999999-"}) {
    EXPECT_FALSE(ParseByteRange(header)) << header;
  }
}

}  // namespace
}  // namespace graft
