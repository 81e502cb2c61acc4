#include "worker/agent/attempt_logs.h"

#include <sys/stat.h>

#include <fstream>
#include <memory>
#include <string>

#include "common/base/file.h"
#include "common/base/utf8.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/agent/fake_server.h"

namespace graft {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr auto kEngine = v1::JOB_LOG_STREAM_ENGINE;
constexpr auto kWorker = v1::JOB_LOG_STREAM_WORKER;

class AttemptLogsTest : public ::testing::Test {
 protected:
  void Begin(absl::Duration interval = absl::Milliseconds(5)) {
    logs_ = std::make_unique<AttemptLogs>(link_, "jobs/a", 1, file_, interval);
  }
  void WriteEngine(const std::string& text) { std::ofstream(file_, std::ios::app) << text; }

  const TempDir directory_;
  const std::string file_ = directory_.Path("engine.log");
  FakeServer server_{directory_.Path("server.sock")};
  ServerLink link_{grpc::CreateChannel(server_.address(), grpc::InsecureChannelCredentials()), {}};
  std::unique_ptr<AttemptLogs> logs_;
};

TEST_F(AttemptLogsTest, WhatTheEngineWritesArrivesWhileItRuns) {
  Begin();
  WriteEngine("one\n");
  server_.WaitForLog("a", kEngine, "one\n");
  WriteEngine("two\n");
  server_.WaitForLog("a", kEngine, "one\ntwo\n");
}

TEST_F(AttemptLogsTest, TheWorkersLinesAboutThisJobArrive) {
  Begin();
  LogJob(LogLevel::kWarning, "jobs/b", "another");
  LogJob(LogLevel::kWarning, "jobs/a", "lease lost");
  server_.WaitForLog("a", kWorker, "lease lost\n");
  EXPECT_THAT(server_.Log("a", kWorker), ::testing::Not(HasSubstr("another")));
}

TEST_F(AttemptLogsTest, TheLastLinesAreSentAtTheEnd) {
  Begin(absl::Hours(1));
  WriteEngine("last words");
  LogJob(LogLevel::kInfo, "jobs/a", "attempt over");
  logs_ = nullptr;
  EXPECT_EQ(server_.Log("a", kEngine), "last words");
  EXPECT_THAT(server_.Log("a", kWorker), EndsWith("attempt over\n"));
}

TEST_F(AttemptLogsTest, WhatAnAbsentServerMissedIsSentWhenItIsBack) {
  server_.AnswerLogsWith({grpc::StatusCode::UNAVAILABLE, "away"});
  Begin();
  WriteEngine("one\n");
  LogJob(LogLevel::kInfo, "jobs/a", "x");
  logs_->Flush();
  EXPECT_EQ(server_.Log("a", kEngine), "");
  server_.AnswerLogsWith(grpc::Status::OK);
  server_.WaitForLog("a", kEngine, "one\n");
}

TEST_F(AttemptLogsTest, ARefusalForGoodEndsIt) {
  server_.AnswerLogsWith({grpc::StatusCode::NOT_FOUND, "the job was deleted"});
  Begin(absl::Hours(1));
  for (int i = 0; i < 3; ++i) {
    LogJob(LogLevel::kInfo, "jobs/a", "x");
    logs_->Flush();
  }
  EXPECT_EQ(server_.log_calls(), 1);
}

TEST_F(AttemptLogsTest, ALongLogArrivesWholeAndGivesItsRoomBack) {
  Begin(absl::Hours(1));
  std::string text;
  while (text.size() < 3 * AttemptLogs::kChunkBytes) text += "a line of an engine that talks\n";
  WriteEngine(text);
  logs_->Flush();
  EXPECT_EQ(server_.Log("a", kEngine), text);
  struct stat facts;
  ASSERT_EQ(stat(file_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_size, static_cast<off_t>(text.size()));
  EXPECT_LT(facts.st_blocks * 512, 2 * AttemptLogs::kKeptEngineBytes);
  EXPECT_EQ(LogTail(file_, 5), "alks\n");
}

TEST_F(AttemptLogsTest, TheWorkersLinesWaitWithinBounds) {
  server_.AnswerLogsWith({grpc::StatusCode::UNAVAILABLE, "away"});
  Begin(absl::Hours(1));
  const std::string filler(10'000, 'x');
  for (int i = 0; i < 150; ++i) LogJob(LogLevel::kInfo, "jobs/a", filler);
  LogJob(LogLevel::kInfo, "jobs/a", "the newest");
  server_.AnswerLogsWith(grpc::Status::OK);
  logs_->Flush();
  const std::string log = server_.Log("a", kWorker);
  EXPECT_THAT(log.substr(0, 20), StartsWith("????")) << "the oldest are gone, and that is told";
  EXPECT_THAT(log.substr(log.size() - 20), EndsWith("the newest\n"));
}

TEST_F(AttemptLogsTest, LastWordsAreWholeCharacters) {
  WriteEngine("größer \xff ist größer");
  const std::string tail = LogTail(file_, 3);  // Begins in the middle of ß.
  EXPECT_EQ(tail, "er");
  EXPECT_EQ(FindInvalidUtf8(LogTail(file_, 100)), absl::string_view::npos);
  EXPECT_EQ(LogTail(directory_.Path("none"), 100), "");
}

}  // namespace
}  // namespace graft
