#include "server/process/exit_deadline.h"

#include <unistd.h>

#include <cstdlib>

#include "gtest/gtest.h"

namespace graft {
namespace {

TEST(ExitDeadlineDeathTest, AProcessThatDoesNotEndIsEnded) {
  EXPECT_EXIT(
      {
        const ExitDeadline deadline(Clock::Real(), absl::Milliseconds(1));
        while (true) pause();
      },
      testing::ExitedWithCode(kStopTimeoutExitCode), "what still runs is dropped");
}

TEST(ExitDeadlineDeathTest, OneThatEndsInTimeIsLeftAlone) {
  FakeClock clock;
  { const ExitDeadline deadline(clock, absl::Seconds(1)); }
  clock.Advance(absl::Hours(1));
}

}  // namespace
}  // namespace graft
