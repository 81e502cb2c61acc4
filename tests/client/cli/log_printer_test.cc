#include "client/cli/log_printer.h"

#include <string>

#include "gtest/gtest.h"

namespace graft {
namespace {

constexpr auto kEngine = v1::JOB_LOG_STREAM_ENGINE;
constexpr auto kWorker = v1::JOB_LOG_STREAM_WORKER;

v1::JobLogChunk Chunk(int32_t attempt, int64_t offset, const std::string& data) {
  v1::JobLogChunk chunk;
  chunk.set_attempt(attempt);
  chunk.set_offset_bytes(offset);
  chunk.set_data(data);
  return chunk;
}

class LogPrinterTest : public ::testing::Test {
 protected:
  std::string text_;
  LogPrinter both_{[this](absl::string_view text) { text_ += std::string(text); }, true, true};
  LogPrinter one_{[this](absl::string_view text) { text_ += std::string(text); }, false, false};
};

TEST_F(LogPrinterTest, LinesOfTwoLogsAreNeverMixed) {
  both_.Add(kWorker, Chunk(1, 0, "leased\nbeg"));
  both_.Add(kEngine, Chunk(1, 0, "hello\n"));
  both_.Add(kWorker, Chunk(1, 10, "un\n"));
  both_.Add(kWorker, Chunk(1, 13, "over"));
  both_.End(kWorker);
  EXPECT_EQ(text_,
            "==> attempt 1, worker <==\nleased\n"
            "==> attempt 1, engine <==\nhello\n"
            "==> attempt 1, worker <==\nbegun\nover\n");
}

TEST_F(LogPrinterTest, MissingBytesAreTold) {
  one_.Add(kEngine, Chunk(1, 0, "head"));
  one_.Add(kEngine, Chunk(1, 1'000'004, "tail\n"));
  EXPECT_EQ(text_, "head\n[1,000,000 bytes were not kept]\ntail\n");
}

TEST_F(LogPrinterTest, AnotherAttemptBeginsAnew) {
  both_.Add(kEngine, Chunk(1, 0, "a\n"));
  both_.Add(kEngine, Chunk(2, 0, "b\n"));
  EXPECT_EQ(text_, "==> attempt 1, engine <==\na\n==> attempt 2, engine <==\nb\n");
}

TEST_F(LogPrinterTest, ATerminalGetsNoCommands) {
  EXPECT_TRUE(both_.empty());
  both_.Add(kEngine, Chunk(1, 0, "\x1b[2Jgone\tgrößer\n"));
  EXPECT_EQ(text_, "==> attempt 1, engine <==\n?[2Jgone\tgrößer\n");
  EXPECT_FALSE(both_.empty());
  text_.clear();
  both_.Say("attempt 1 failed: its last words were \r\x1b[2J");
  EXPECT_EQ(text_, "attempt 1 failed: its last words were ??[2J\n");
  text_.clear();
  one_.Add(kEngine, Chunk(1, 0, "\x1b[2J\n"));
  EXPECT_EQ(text_, "\x1b[2J\n") << "a file gets the bytes as they are";
}

}  // namespace
}  // namespace graft
