#include "worker/engine/run/pulse_reporter.h"

#include <gtest/gtest.h>

#include <future>

namespace graft {
namespace {

// Counts reports.
class Reports {
 public:
  void Add() {
    MutexLock lock(mutex_);
    ++count_;
  }
  int count() {
    MutexLock lock(mutex_);
    return count_;
  }

 private:
  Mutex mutex_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
};

class PulseReporterTest : public testing::Test {
 protected:
  void Advance() { clock_.Advance(PulseReporter::kInterval); }
  // Until the reporter has looked: it tells of this beat, which comes in an interval of its own.
  void BeatAndWait(int reports) {
    control_.pulse().Beat();
    while (reports_.count() < reports) {
      Advance();
    }
  }

  FakeClock clock_;
  JobControl control_{clock_};
  Reports reports_;
};

TEST_F(PulseReporterTest, ReportsOnceForEachIntervalInWhichSomethingWasDone) {
  const PulseReporter reporter(
      control_, [&] { reports_.Add(); }, clock_);
  BeatAndWait(1);
  BeatAndWait(2);
  EXPECT_EQ(reports_.count(), 2);
}

TEST_F(PulseReporterTest, SaysNothingOfAPulseThatStandsStill) {
  {
    const PulseReporter reporter(
        control_, [&] { reports_.Add(); }, clock_);
    BeatAndWait(1);
    // Many intervals, of which the reporter sees some.
    for (int i = 0; i < 100; ++i) Advance();
  }
  EXPECT_EQ(reports_.count(), 1);
}

TEST_F(PulseReporterTest, ReportsThatTheJobWaitsAtItsFenceAndThatItGoesOn) {
  control_.SetFence(1);
  const PulseReporter reporter(
      control_, [&] { reports_.Add(); }, clock_);
  std::future<absl::Status> poll = std::async(std::launch::async, [&] { return control_.Poll(); });
  while (reports_.count() < 1) Advance();
  EXPECT_TRUE(control_.waiting());
  EXPECT_EQ(control_.pulse().count(), 0);
  control_.SetFence(0);
  EXPECT_TRUE(poll.get().ok());
  while (reports_.count() < 2) Advance();
  EXPECT_FALSE(control_.waiting());
  EXPECT_EQ(control_.pulse().count(), 1);
}

}  // namespace
}  // namespace graft
