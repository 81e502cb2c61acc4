#include "common/telemetry/log_signals.h"

#include <signal.h>

#include <cstdio>
#include <string>

#include "common/base/file.h"
#include "common/telemetry/log.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

// Signals of a process of its own each time: gtest_discover_tests runs every test alone.
class WaitForEndTest : public ::testing::Test {
 protected:
  ~WaitForEndTest() override { EXPECT_TRUE(StartLogging({}).ok()); }
  const TempDir directory_;
};

TEST_F(WaitForEndTest, EachSignalEndsAProgramWithoutALogFile) {
  const ProgramSignals signals;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    ::raise(number);
    EXPECT_EQ(WaitForEnd(signals, ""), number);
  }
}

TEST_F(WaitForEndTest, HangUpOpensALogFileAnewAndEndsNothing) {
  LogOptions options;
  options.file = directory_.Path("log");
  ASSERT_TRUE(StartLogging(options).ok());
  const ProgramSignals signals;
  ASSERT_EQ(std::rename(options.file.c_str(), directory_.Path("moved").c_str()), 0);
  ::raise(SIGHUP);
  // One signal at a time is pending of each kind: the end comes once the log was opened.
  int reopened = 0;
  const int end = WaitForEnd(signals, options.file, [&] {
    ++reopened;
    ::raise(SIGTERM);
  });
  EXPECT_EQ(end, SIGTERM);
  EXPECT_EQ(reopened, 1);
  EXPECT_TRUE(FileExists(options.file));
}

TEST_F(WaitForEndTest, HangUpThatWasIgnoredFromTheStartStaysIgnored) {
  ::signal(SIGHUP, SIG_IGN);
  const ProgramSignals signals;
  ::raise(SIGHUP);
  ::raise(SIGTERM);
  EXPECT_EQ(WaitForEnd(signals, ""), SIGTERM);
}

}  // namespace
}  // namespace graft
