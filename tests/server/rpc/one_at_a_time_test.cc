#include "server/rpc/one_at_a_time.h"

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

bool Never() { return false; }

TEST(OneAtATimeTest, TheSecondWaitsAndTheThirdIsSentAway) {
  OneAtATime turns(Clock::Real());
  auto first = turns.Enter("jobs/a", Never);
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(turns.Enter("jobs/b", Never).ok());
  absl::Notification waits;
  std::atomic<bool> first_is_done = false;
  std::thread second([&] {
    const auto turn = turns.Enter("jobs/a", [&] {
      if (!waits.HasBeenNotified()) waits.Notify();
      return false;
    });
    EXPECT_TRUE(turn.ok());
    EXPECT_TRUE(first_is_done);
  });
  waits.WaitForNotification();
  EXPECT_TRUE(absl::IsUnavailable(turns.Enter("jobs/a", Never).status()));
  first_is_done = true;
  { const OneAtATime::Turn ends = *std::move(first); }
  second.join();
  EXPECT_TRUE(turns.Enter("jobs/a", Never).ok());
}

TEST(OneAtATimeTest, WhoeverIsGoneDoesNotWait) {
  OneAtATime turns(Clock::Real());
  const auto first = turns.Enter("jobs/a", Never);
  EXPECT_TRUE(absl::IsCancelled(turns.Enter("jobs/a", [] { return true; }).status()));
}

TEST(OneAtATimeTest, ManyCallersNeverWorkOnOneThingAtOnce) {
  OneAtATime turns(Clock::Real());
  int at_work = 0;  // TSan and the check below see two at once.
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        const auto turn = turns.Enter("jobs/a", Never);
        if (!turn.ok()) continue;
        EXPECT_EQ(++at_work, 1);
        --at_work;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace graft
