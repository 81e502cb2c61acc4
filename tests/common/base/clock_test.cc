#include "common/base/clock.h"

#include <thread>

#include "common/base/stop_signal.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

TEST(ClockTest, AWaitEndsWhenBoottimeHasComeHoweverTheDateIsSet) {
  FakeClock clock;
  StopSignal signal(clock);
  const absl::Duration end = clock.Boottime() + absl::Seconds(5);
  bool stopped = true;
  std::thread waiter([&] { stopped = signal.WaitUntil(end); });
  clock.MoveWallClock(-absl::Hours(24));
  clock.MoveWallClock(absl::Hours(48));
  clock.Advance(absl::Seconds(5));
  waiter.join();
  EXPECT_FALSE(stopped);
}

TEST(ClockTest, AWaitGoesOnWhileOnlyTheDateMoves) {
  FakeClock clock;
  StopSignal signal(clock);
  bool stopped = false;
  std::thread waiter([&] { stopped = signal.WaitFor(absl::Seconds(5)); });
  clock.MoveWallClock(absl::Hours(1));
  signal.Stop();
  waiter.join();
  EXPECT_TRUE(stopped);
}

TEST(ClockTest, ADeadlineThatHasPassedIsNotWaitedFor) {
  Mutex mutex;
  CondVar changed;
  MutexLock lock(mutex);
  EXPECT_FALSE(Clock::Real().WaitUntil(changed, mutex, Clock::Real().Boottime()));
}

TEST(ClockTest, ANotificationEndsAWait) {
  Mutex mutex;
  CondVar changed;
  bool done = false;
  std::thread notifier([&] {
    MutexLock lock(mutex);
    done = true;
    changed.NotifyAll();
  });
  {
    MutexLock lock(mutex);
    while (!done && Clock::Real().WaitUntil(changed, mutex, absl::InfiniteDuration())) {
    }
  }
  notifier.join();
  EXPECT_TRUE(done);
}

}  // namespace
}  // namespace graft
