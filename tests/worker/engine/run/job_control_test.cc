#include "worker/engine/run/job_control.h"

#include <gtest/gtest.h>

#include <future>

namespace graft {
namespace {

int64_t Nanoseconds(Clock& clock) { return absl::ToInt64Nanoseconds(clock.Boottime()); }

// Polls on another thread, for polls that may block.
std::future<absl::Status> PollElsewhere(JobControl& control) {
  return std::async(std::launch::async, [&control] { return control.Poll(); });
}

bool IsReady(std::future<absl::Status>& future) {
  return future.wait_for(std::chrono::milliseconds(50)) == std::future_status::ready;
}

TEST(JobControlTest, GoesOnUntilCancelled) {
  JobControl control;
  EXPECT_TRUE(control.Poll().ok());
  control.Cancel();
  EXPECT_EQ(control.Poll().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(control.Poll().code(), absl::StatusCode::kCancelled);
}

TEST(JobControlTest, APauseIsAnAnswerOfItsOwnAndACancelIsMore) {
  JobControl control;
  control.Pause();
  EXPECT_TRUE(IsPaused(control.Poll()));
  EXPECT_EQ(control.Poll().code(), absl::StatusCode::kCancelled);
  control.Cancel();
  EXPECT_EQ(control.Poll().code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(IsPaused(control.Poll()));
}

TEST(JobControlTest, ACheckpointIsRequestedByItsStep) {
  JobControl control;
  EXPECT_EQ(control.RequestedCheckpoint(), 0);
  control.RequestCheckpoint(7);
  EXPECT_EQ(control.RequestedCheckpoint(), 7);
  EXPECT_EQ(control.RequestedCheckpoint(), 7);
}

TEST(JobControlTest, AFenceInTheFutureDoesNotStop) {
  FakeClock clock;
  JobControl control(clock);
  control.SetFence(Nanoseconds(clock) + 1);
  EXPECT_TRUE(control.Poll().ok());
}

TEST(JobControlTest, BlocksFromTheFenceOnUntilItIsMoved) {
  FakeClock clock;
  JobControl control(clock);
  control.SetFence(Nanoseconds(clock) + 1000);
  clock.Advance(absl::Nanoseconds(1000));
  std::future<absl::Status> poll = PollElsewhere(control);
  EXPECT_FALSE(IsReady(poll));
  control.SetFence(Nanoseconds(clock));  // Still not ahead.
  EXPECT_FALSE(IsReady(poll));
  control.SetFence(Nanoseconds(clock) + 1);
  EXPECT_TRUE(poll.get().ok());
}

TEST(JobControlTest, ZeroLiftsTheFence) {
  FakeClock clock;
  JobControl control(clock);
  control.SetFence(1);
  std::future<absl::Status> poll = PollElsewhere(control);
  EXPECT_FALSE(IsReady(poll));
  control.SetFence(0);
  EXPECT_TRUE(poll.get().ok());
}

TEST(JobControlTest, CancelWakesAFencedJob) {
  JobControl control;
  control.SetFence(1);
  std::future<absl::Status> poll = PollElsewhere(control);
  EXPECT_FALSE(IsReady(poll));
  control.Cancel();
  EXPECT_EQ(poll.get().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace graft
