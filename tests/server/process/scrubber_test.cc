#include "server/process/scrubber.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/telemetry/log.h"
#include "gtest/gtest.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "tests/fakes/temp_dir.h"
#include "tests/server/process/wait_until.h"

namespace graft {
namespace {

// Goes on at each look of the one thread that it is for: by 10 ms, and by what `at_look` adds.
class SteppingClock : public Clock {
 public:
  explicit SteppingClock(std::function<absl::Duration(absl::Duration now)> at_look)
      : at_look_(std::move(at_look)) {}
  absl::Time Now() override { return absl::UnixEpoch(); }
  absl::Duration Boottime() override {
    now_ += absl::Milliseconds(10);
    now_ += at_look_(now_);
    return now_;
  }

 protected:
  absl::Duration wait_slice() const override { return absl::Microseconds(1); }

 private:
  const std::function<absl::Duration(absl::Duration now)> at_look_;
  absl::Duration now_;
};

// A store of ten blobs of one byte each.
class ScrubberTest : public ::testing::Test {
 protected:
  ScrubberTest() {
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(blobs_->Put(absl::StrCat(i)).ok());
    options_.bytes_per_second = 1;
    options_.interval = absl::Milliseconds(50);
  }
  double ReadBytes() {
    for (const prometheus::MetricFamily& family : registry_.collectable()->Collect()) {
      if (family.name != "graft_scrubbed_bytes_total" || family.metric.empty()) continue;
      return family.metric[0].counter.value;
    }
    return 0;
  }

  const TempDir directory_;
  const std::unique_ptr<FileBlobStore> blobs_ = *FileBlobStore::Open(directory_.Path("blobs"));
  MetricRegistry registry_;
  ScrubberOptions options_;
};

TEST_F(ScrubberTest, AMachineThatSleptReadsNoFasterAfterwards) {
  absl::Duration woken = absl::ZeroDuration();
  absl::Duration last_read = absl::ZeroDuration();
  StopSignal done;
  SteppingClock clock([&](absl::Duration now) {
    const double read = ReadBytes();
    if (read >= 3 && woken == absl::ZeroDuration()) {
      woken = now + absl::Hours(8);
      return absl::Hours(8);
    }
    if (read >= 10 && last_read == absl::ZeroDuration()) {
      last_read = now;
      done.Stop();
    }
    return absl::ZeroDuration();
  });
  options_.clock = &clock;
  {
    const Scrubber scrubber(options_, *blobs_, registry_);
    while (!done.WaitFor(absl::Hours(1))) {
    }
  }
  EXPECT_GE(last_read - woken, absl::Seconds(6)) << "seven bytes, one a second";
}

TEST_F(ScrubberTest, WhatOthersFindIsLoggedBeforeTheRoundIsOver) {
  LogOptions log;
  log.file = directory_.Path("log");
  ASSERT_TRUE(StartLogging(log).ok());
  FakeClock clock;
  options_.clock = &clock;
  options_.bytes_per_second = 1;
  options_.interval = absl::Milliseconds(1);
  {
    const Scrubber scrubber(options_, *blobs_, registry_);
    ASSERT_TRUE(WaitUntil([&] {
      clock.Advance(absl::Milliseconds(1));
      return ReadBytes() >= 1;
    }));
    // Not of this round.
    const BlobInfo late = *blobs_->Put("late");
    const std::string path = *blobs_->PathOf(late.sha256);
    ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
    ASSERT_EQ(::truncate(path.c_str(), 1), 0);
    ASSERT_FALSE(blobs_->Verify(late.sha256).ok());
    clock.Advance(absl::Seconds(2));
    EXPECT_TRUE(WaitUntil(
        [&] { return absl::StrContains(ReadFile(log.file, 1 << 20).value_or(""), late.sha256); }));
    EXPECT_LT(ReadBytes(), 10) << "the round is not over";
  }
  EXPECT_TRUE(StartLogging({}).ok());
}

}  // namespace
}  // namespace graft
