#include "server/rpc/executor.h"

#include <atomic>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

TEST(ExecutorTest, RefusesWhatWouldWaitBeyondTheBound) {
  absl::Notification running, go_on;
  Executor executor("test", 1, /*max_queued=*/1);
  ASSERT_TRUE(executor.TrySchedule([&] {
    running.Notify();
    go_on.WaitForNotification();
  }));
  running.WaitForNotification();
  EXPECT_TRUE(executor.TrySchedule([] {}));
  EXPECT_FALSE(executor.TrySchedule([] { FAIL() << "was refused"; }));
  go_on.Notify();
}

TEST(ExecutorTest, TheNextTurnOfAStreamIsNeverRefused) {
  absl::Notification running, go_on;
  std::atomic<int> turns = 0;
  {
    Executor executor("test", 1, /*max_queued=*/0);
    executor.Schedule([&] {
      running.Notify();
      go_on.WaitForNotification();
    });
    running.WaitForNotification();
    EXPECT_FALSE(executor.TrySchedule([] {}));
    for (int i = 0; i < 10; ++i) executor.Schedule([&] { ++turns; });
    EXPECT_EQ(executor.queued(), 10u);
    go_on.Notify();
  }
  // What was accepted has run when the executor is gone.
  EXPECT_EQ(turns, 10);
}

}  // namespace
}  // namespace graft
