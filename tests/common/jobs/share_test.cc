#include "common/jobs/share.h"

#include "gtest/gtest.h"

namespace graft {
namespace {

TEST(ShareTest, IsRoundedUpAsTransformersDoesIt) {
  EXPECT_EQ(CeilShare(0.1, 30), 3);
  EXPECT_EQ(CeilShare(0.1, 31), 4);
  EXPECT_EQ(CeilShare(0.2, 11), 3);
  EXPECT_EQ(CeilShare(0.5, 1), 1);
  EXPECT_EQ(CeilShare(0.1, 0), 0);
  EXPECT_EQ(CeilShare(0, 30), 0);
  EXPECT_EQ(CeilShare(0.07, 100), 8);  // math.ceil(0.07 * 100) in Python.
}

}  // namespace
}  // namespace graft
