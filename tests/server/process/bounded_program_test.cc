#include "server/process/bounded_program.h"

#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "absl/algorithm/container.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/process/wait_until.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

class BoundedProgramTest : public ::testing::Test {
 protected:
  BoundedProgramTest() {
    std::signal(SIGPIPE, SIG_IGN);  // As graft-server does.
    program_.on_line = [this](absl::string_view line) {
      MutexLock lock(mutex_);
      lines_.emplace_back(line);
    };
  }
  // Runs a shell's script.
  absl::StatusOr<ProgramEnd> Run(const std::string& script) {
    program_.argv = {"/bin/sh", "-c", script};
    return RunBounded(program_, cut_short_, clock_);
  }
  std::vector<std::string> Lines() {
    MutexLock lock(mutex_);
    return lines_;
  }
  // Does something once the script has said a first line.
  std::thread AfterTheFirstLine(const std::function<void()>& act) {
    return std::thread([this, act] {
      EXPECT_TRUE(WaitUntil([this] { return !Lines().empty(); }));
      act();
    });
  }

  FakeClock clock_;
  StopSignal cut_short_;
  BoundedProgram program_;
  Mutex mutex_;
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(BoundedProgramTest, ItReadsItsInputAndIsHeard) {
  program_.input = std::string(1 << 20, 'x') + "\n";
  program_.environment["GREETING"] = "hello";
  const auto end = Run("wc -c; echo $GREETING >&2; printf last; exit 3");
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(end->status.code, 3);
  EXPECT_FALSE(end->timed_out || end->cut_short);
  EXPECT_THAT(Lines(), ElementsAre("1048577", "hello", "last"));
  EXPECT_EQ(end->dropped_bytes, 0);
}

TEST_F(BoundedProgramTest, ItNeedNotReadItsInput) {
  program_.input = std::string(1 << 20, 'x');
  EXPECT_TRUE(Run("exec <&-; echo done")->status.success());
  EXPECT_TRUE(Run("true")->status.success());
}

TEST_F(BoundedProgramTest, WhatHangsIsEndedWithAllThatItBegan) {
  std::thread later = AfterTheFirstLine([&] { clock_.Advance(program_.limit); });
  const auto end = Run("echo begun; sleep 1000 & wait");
  later.join();
  EXPECT_TRUE(end->timed_out);
  EXPECT_EQ(end->status.signal, SIGTERM);
}

TEST_F(BoundedProgramTest, WhatDoesNotHeedItIsKilledAfterTheGrace) {
  std::thread later = AfterTheFirstLine([&] {
    clock_.Advance(program_.limit);
    EXPECT_TRUE(WaitUntil([&] { return absl::c_linear_search(Lines(), "no"); }));
    clock_.Advance(program_.grace);
  });
  const auto end = Run("trap 'echo no' TERM; echo begun; while :; do sleep 0.01; done");
  later.join();
  EXPECT_TRUE(end->timed_out);
  EXPECT_EQ(end->status.signal, SIGKILL);
}

TEST_F(BoundedProgramTest, ItIsCutShortWhenSomebodySaysSo) {
  std::thread later = AfterTheFirstLine([&] { cut_short_.Stop(); });
  const auto end = Run("echo begun; sleep 1000");
  later.join();
  EXPECT_TRUE(end->cut_short);
  EXPECT_FALSE(end->timed_out);
}

TEST_F(BoundedProgramTest, WhatSaysTooMuchIsHeardToItsEndAndToldInPart) {
  program_.max_lines = 3;
  program_.max_line_bytes = 10;
  const auto end = Run("echo 12345678901234; seq 1 100000; echo end");
  ASSERT_TRUE(end.ok());
  EXPECT_TRUE(end->status.success()) << end->status.ToString();
  EXPECT_THAT(Lines(), ElementsAre("1234567890", "1", "2"));
  EXPECT_GT(end->dropped_bytes, 500'000);
}

TEST_F(BoundedProgramTest, WhatPrintsWithoutEndIsEnded) {
  std::thread later = AfterTheFirstLine([&] { clock_.Advance(program_.limit); });
  const auto end = Run("yes");
  later.join();
  EXPECT_TRUE(end->timed_out);
  EXPECT_THAT(Lines(), SizeIs(program_.max_lines));
}

TEST_F(BoundedProgramTest, WhoeverHoldsItsOutputIsNotWaitedFor) {
  // Out of its group.
  const auto end = Run("setsid sleep 30 & echo done");
  EXPECT_TRUE(end->status.success());
  EXPECT_THAT(Lines(), ElementsAre("done"));
}

TEST_F(BoundedProgramTest, OneThatIsNotThereIsNotFound) {
  program_.argv = {"/no/such/program"};
  EXPECT_EQ(RunBounded(program_, cut_short_, clock_).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace graft
