#include "common/telemetry/log.h"

#include <nlohmann/json.hpp>

#include "gtest/gtest.h"

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

}  // namespace
}  // namespace graft
