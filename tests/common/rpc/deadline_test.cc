#include "common/rpc/deadline.h"

#include "gtest/gtest.h"

namespace graft {
namespace {

TEST(DeadlineTest, IsOnAClockThatNobodySets) {
  const gpr_timespec deadline = DeadlineAfter(absl::Seconds(3600));
  EXPECT_EQ(deadline.clock_type, GPR_CLOCK_MONOTONIC);
  const gpr_timespec left = gpr_time_sub(deadline, gpr_now(GPR_CLOCK_MONOTONIC));
  EXPECT_GT(left.tv_sec, 3000);
  EXPECT_LE(left.tv_sec, 3600);
}

TEST(DeadlineTest, OfNoTimeoutNeverComes) {
  EXPECT_EQ(
      gpr_time_cmp(DeadlineAfter(absl::InfiniteDuration()), gpr_inf_future(GPR_CLOCK_MONOTONIC)),
      0);
}

}  // namespace
}  // namespace graft
