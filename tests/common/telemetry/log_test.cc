#include "common/telemetry/log.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

LogOptions Options(bool json) {
  LogOptions options;
  options.program = "server";
  options.json = json;
  return options;
}

TEST(LogTest, TextLineCarriesTheJobAndItsFields) {
  EXPECT_EQ(FormatLogLine(Options(false), LogLevel::kInfo, "T", "jobs/a", "state change",
                          {{"to", "RUNNING"}, {"error", ""}, {"reason", "a worker came"}}),
            "T I server job=jobs/a state change to=RUNNING reason=\"a worker came\"");
}

TEST(LogTest, NoValueCanBeginAnotherLine) {
  const std::string line =
      FormatLogLine(Options(false), LogLevel::kError, "T", "", "a\nb", {{"k", "x\ny\x1b\"z"}});
  EXPECT_EQ(line, "T E server a\\nb k=\"x\\ny\\x1b\\\"z\"");
}

TEST(LogTest, JsonLineParsesEvenWithBrokenUtf8) {
  const std::string line =
      FormatLogLine(Options(true), LogLevel::kWarning, "T", "jobs/a", "m", {{"k", "\xff\n"}});
  const auto parsed = nlohmann::json::parse(line);
  EXPECT_EQ(parsed["job"], "jobs/a");
  EXPECT_EQ(parsed["level"], "warning");
  EXPECT_EQ(line.find('\n'), std::string::npos);
}

TEST(LogTest, AnUnknownLevelIsRefused) {
  LogLevel level;
  EXPECT_TRUE(ParseLogLevel("warning", &level).ok());
  EXPECT_EQ(level, LogLevel::kWarning);
  EXPECT_EQ(ParseLogLevel("loud", &level).code(), absl::StatusCode::kInvalidArgument);
}

class LogFileTest : public ::testing::Test {
 protected:
  ~LogFileTest() override { EXPECT_TRUE(StartLogging({}).ok()); }
  void Start(int64_t rotate_bytes = 0) {
    LogOptions options = Options(false);
    options.file = directory_.Path("server.log");
    options.rotate_bytes = rotate_bytes;
    ASSERT_TRUE(StartLogging(options).ok());
  }
  std::string Content(const std::string& name) {
    return ReadFile(directory_.Path(name), 1 << 20).value_or("");
  }

  TempDir directory_;
};

TEST_F(LogFileTest, AFileThatWasMovedAwayIsOpenedAnewByItsName) {
  Start();
  Log(LogLevel::kInfo, "before");
  std::rename(directory_.Path("server.log").c_str(), directory_.Path("moved").c_str());
  Log(LogLevel::kInfo, "between");
  ASSERT_TRUE(ReopenLog().ok());
  Log(LogLevel::kInfo, "after");
  EXPECT_THAT(Content("moved"), ::testing::HasSubstr("between"));
  EXPECT_THAT(Content("moved"), ::testing::Not(::testing::HasSubstr("after")));
  EXPECT_THAT(Content("server.log"), ::testing::HasSubstr("after"));
}

TEST_F(LogFileTest, AFileThatCannotBeOpenedAnewLeavesTheLogWhereItWas) {
  Start();
  ASSERT_TRUE(RemoveFile(directory_.Path("server.log")).ok());
  ASSERT_TRUE(CreateDirectories(directory_.Path("server.log")).ok());
  EXPECT_EQ(ReopenLog().code(), absl::StatusCode::kInvalidArgument);
  Log(LogLevel::kInfo, "still here");  // To the file that has no name any more.
}

TEST_F(LogFileTest, RotationKeepsAFewFilesOfTheSizeAsked) {
  Start(/*rotate_bytes=*/1000);
  for (int i = 0; i < 200; ++i) Log(LogLevel::kInfo, std::string(90, 'x'));
  const auto names = ListDirectory(directory_.path());
  ASSERT_TRUE(names.ok());
  EXPECT_EQ(names->size(), 1u + kKeptLogFiles);
  for (const std::string& name : *names) EXPECT_LE(Content(name).size(), 1000u) << name;
}

TEST(JobLogTapTest, HearsOfItsOwnJobWhileItLives) {
  std::string heard;
  {
    const JobLogTap tap("jobs/a", [&](absl::string_view line) { heard += std::string(line); });
    LogJob(LogLevel::kWarning, "jobs/a", "engine ended");
    LogJob(LogLevel::kWarning, "jobs/b", "another");
    LogJob(LogLevel::kDebug, "jobs/a", "below the level");
    Log(LogLevel::kWarning, "of no job");
  }
  LogJob(LogLevel::kWarning, "jobs/a", "too late");
  EXPECT_THAT(heard, ::testing::EndsWith("job=jobs/a engine ended\n"));
  EXPECT_EQ(std::count(heard.begin(), heard.end(), '\n'), 1);
}

}  // namespace
}  // namespace graft
