#include "common/base/failpoint.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

class FailpointTest : public ::testing::Test {
 protected:
  ~FailpointTest() override { EXPECT_TRUE(ArmFailpoints("").ok()); }
};

// Reaches the place "file.rename.before" three times and says which it has passed.
[[noreturn]] void Pass(const std::string& entries) {
  if (!ArmFailpoints(entries).ok()) ::_exit(3);
  for (int time = 1; time <= 3; ++time) {
    Failpoint("file", "sync", "before");
    Failpoint("file", "rename", "before");
    std::fprintf(stderr, "passed %d\n", time);
  }
  ::_exit(0);
}

TEST_F(FailpointTest, KillsAtTheTimeThatIsSaid) {
  const ::testing::KilledBySignal killed(SIGKILL);
  EXPECT_EXIT(Pass("file.rename.before=kill@3"), killed, "passed 2\n$");
  EXPECT_EXIT(Pass("file.rename.before=kill"), killed, "^$");
  EXPECT_EXIT(Pass("file.rename.before=kill@4"), ::testing::ExitedWithCode(0), "passed 3\n$");
  EXPECT_EXIT(Pass("file.rename.after=kill,file.link.before=kill"), ::testing::ExitedWithCode(0),
              "passed 3\n$");
}

TEST_F(FailpointTest, NamesEachPlaceThatIsPassed) {
  EXPECT_EXIT(Pass("*=name,file.rename.before=kill@2"), ::testing::KilledBySignal(SIGKILL),
              "^failpoint file.sync.before\nfailpoint file.rename.before\npassed 1\n"
              "failpoint file.sync.before\n");
}

TEST_F(FailpointTest, CountsInTheProgramThatIsSaidOnly) {
  EXPECT_EXIT(Pass("another/file.rename.before=kill"), ::testing::ExitedWithCode(0), "passed 3");
  EXPECT_EXIT(Pass("common_base_test/file.rename.before=kill@2"),
              ::testing::KilledBySignal(SIGKILL), "passed 1\n$");
}

TEST_F(FailpointTest, WhatIsNoEntryIsRefused) {
  for (const char* entry : {"a", "=kill", "a=", "a=die", "a=kill@", "a=kill@0", "a=kill@x",
                            "a=kill=kill", "a.b.c=kill,b"}) {
    const absl::Status status = ArmFailpoints(entry);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << entry;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("[PROGRAM/]NAME=")) << entry;
  }
}

}  // namespace
}  // namespace graft
