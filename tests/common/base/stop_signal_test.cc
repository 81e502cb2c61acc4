#include "common/base/stop_signal.h"

#include <optional>
#include <thread>

#include "gtest/gtest.h"

namespace graft {
namespace {

TEST(StopSignalTest, WakesASleeper) {
  StopSignal signal;
  bool stopped = false;
  std::thread sleeper([&] { stopped = signal.WaitFor(absl::Hours(1)); });
  signal.Stop();
  sleeper.join();
  EXPECT_TRUE(stopped);
}

TEST(StopSignalTest, SleepsNoLongerThanAsked) {
  StopSignal signal;
  EXPECT_FALSE(signal.WaitFor(absl::Milliseconds(1)));
}

TEST(StopSignalTest, CallsBackOnceWhenStopped) {
  StopSignal signal;
  int calls = 0;
  const StopSignal::Callback callback(signal, [&] { ++calls; });
  EXPECT_EQ(calls, 0);
  signal.Stop();
  signal.Stop();
  EXPECT_EQ(calls, 1);
}

TEST(StopSignalTest, CallsBackAtOnceWhenItWasStoppedBefore) {
  StopSignal signal;
  signal.Stop();
  int calls = 0;
  const StopSignal::Callback callback(signal, [&] { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(StopSignalTest, DoesNotCallWhatIsGone) {
  StopSignal signal;
  int first_calls = 0, second_calls = 0;
  std::optional<StopSignal::Callback> first;
  first.emplace(signal, [&] { ++first_calls; });
  const StopSignal::Callback second(signal, [&] { ++second_calls; });
  first.reset();
  signal.Stop();
  EXPECT_EQ(first_calls, 0);
  EXPECT_EQ(second_calls, 1);
}

}  // namespace
}  // namespace graft
