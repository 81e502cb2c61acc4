#include "server/process/exit_deadline.h"

#include <fcntl.h>
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

// What is written to standard error from now on waits for a reader who never comes.
void HangStandardError() {
  int ends[2];
  if (::pipe(ends) != 0 || ::fcntl(ends[1], F_SETFL, O_NONBLOCK) != 0) return;
  while (::write(ends[1], "x", 1) == 1) {
  }
  ::fcntl(ends[1], F_SETFL, 0);
  ::dup2(ends[1], STDERR_FILENO);
}

TEST(ExitDeadlineDeathTest, ALogThatHangsKeepsNoProcess) {
  EXPECT_EXIT(
      {
        HangStandardError();
        const ExitDeadline deadline(Clock::Real(), absl::Milliseconds(1));
        while (true) pause();
      },
      testing::ExitedWithCode(kStopTimeoutExitCode), "");
}

TEST(ExitDeadlineDeathTest, OneThatEndsInTimeIsLeftAlone) {
  FakeClock clock;
  { const ExitDeadline deadline(clock, absl::Seconds(1)); }
  clock.Advance(absl::Hours(1));
}

}  // namespace
}  // namespace graft
