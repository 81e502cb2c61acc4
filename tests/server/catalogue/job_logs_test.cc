#include "server/catalogue/job_logs.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class JobLogsTest : public ::testing::Test {
 protected:
  JobLogsTest() {
    const JobLogLimits limits = {
        .head_bytes = 20, .tail_bytes = 30, .job_bytes = 150, .piece_bytes = 10};
    logs_ = *JobLogs::Open(directory_.Path("logs"), limits);
  }
  static JobLogKey Engine(int32_t attempt = 1) { return {"a", attempt, v1::JOB_LOG_STREAM_ENGINE}; }
  // All that is kept; "[n]" stands for n missing bytes.
  std::string Whole(const JobLogKey& key) {
    std::string text;
    for (int64_t offset = 0;;) {
      const auto piece = logs_->Read(key, offset, 7);
      EXPECT_TRUE(piece.ok()) << piece.status();
      if (!piece.ok() || piece->bytes.empty()) return text;
      if (piece->offset > offset) absl::StrAppend(&text, "[", piece->offset - offset, "]");
      text += piece->bytes;
      offset = piece->offset + static_cast<int64_t>(piece->bytes.size());
    }
  }

  TempDir directory_;
  std::unique_ptr<JobLogs> logs_;
};

TEST_F(JobLogsTest, WhatIsAppendedIsRead) {
  EXPECT_EQ(*logs_->Append(Engine(), 0, "hello "), 6);
  EXPECT_EQ(*logs_->Append(Engine(), 6, "world, and more"), 21);
  EXPECT_EQ(Whole(Engine()), "hello world, and more");
  EXPECT_EQ(*logs_->End(Engine()), 21);
}

TEST_F(JobLogsTest, ALogThatNobodyWroteIsEmpty) {
  EXPECT_EQ(Whole(Engine()), "");
  EXPECT_EQ(*logs_->End(Engine()), 0);
}

TEST_F(JobLogsTest, StreamsAndAttemptsAreApart) {
  ASSERT_TRUE(logs_->Append(Engine(1), 0, "one").ok());
  ASSERT_TRUE(logs_->Append(Engine(2), 0, "two").ok());
  ASSERT_TRUE(logs_->Append({"a", 1, v1::JOB_LOG_STREAM_WORKER}, 0, "worker").ok());
  EXPECT_EQ(Whole(Engine(1)), "one");
  EXPECT_EQ(Whole(Engine(2)), "two");
  EXPECT_EQ(Whole({"a", 1, v1::JOB_LOG_STREAM_WORKER}), "worker");
}

TEST_F(JobLogsTest, BytesThatAreThereAreDropped) {
  ASSERT_TRUE(logs_->Append(Engine(), 0, "abcdef").ok());
  EXPECT_EQ(*logs_->Append(Engine(), 0, "abcdef"), 6);
  EXPECT_EQ(*logs_->Append(Engine(), 3, "defghi"), 9);
  EXPECT_EQ(Whole(Engine()), "abcdefghi");
}

TEST_F(JobLogsTest, BytesThatWereLostOnTheWayLeaveAGap) {
  ASSERT_TRUE(logs_->Append(Engine(), 0, "abc").ok());
  EXPECT_EQ(*logs_->Append(Engine(), 8, "xyz"), 11);
  EXPECT_EQ(Whole(Engine()), "abc[5]xyz");
}

TEST_F(JobLogsTest, OfALongLogHeadAndTailAreKept) {
  std::string text;
  for (int i = 0; i < 30; ++i) absl::StrAppend(&text, absl::Dec(i, absl::kZeroPad4), "\n");
  for (size_t offset = 0; offset < text.size(); offset += 6) {
    ASSERT_TRUE(logs_->Append(Engine(), offset, text.substr(offset, 6)).ok());
  }
  // Whole pieces of 10: the head's two, and those that reach into the last 30 bytes.
  EXPECT_EQ(Whole(Engine()), absl::StrCat(text.substr(0, 20), "[100]", text.substr(120)));
  EXPECT_EQ(*logs_->End(Engine()), 150);
}

TEST_F(JobLogsTest, TheOldestAttemptsOfAJobGoFirst) {
  const std::string text(40, 'x');
  for (int attempt = 1; attempt <= 5; ++attempt) {
    ASSERT_TRUE(logs_->Append(Engine(attempt), 0, text).ok());
  }
  EXPECT_EQ(Whole(Engine(1)), "");
  EXPECT_EQ(Whole(Engine(2)), "");
  for (int attempt = 3; attempt <= 5; ++attempt) EXPECT_EQ(Whole(Engine(attempt)), text);
}

TEST_F(JobLogsTest, AReopenedLogGoesOn) {
  ASSERT_TRUE(logs_->Append(Engine(), 0, "before").ok());
  logs_ = *JobLogs::Open(directory_.Path("logs"));
  EXPECT_EQ(*logs_->Append(Engine(), 6, " after"), 12);
  EXPECT_EQ(Whole(Engine()), "before after");
}

TEST_F(JobLogsTest, AFullDiskTakesWhatFitsAndTheRestLater) {
  static int writes_left = 0;
  writes_left = 1;
  static const FileSystemCalls calls = {::pread,
                                        [](int fd, const void* bytes, size_t count) -> ssize_t {
                                          if (writes_left-- > 0)
                                            return ::write(fd, bytes, count / 2);
                                          errno = ENOSPC;
                                          return -1;
                                        },
                                        ::fsync, ::rename};
  SetFileSystemCallsForTest(&calls);
  const auto full = logs_->Append(Engine(), 0, "abcdef");
  SetFileSystemCallsForTest(nullptr);
  EXPECT_TRUE(absl::IsResourceExhausted(full.status())) << full.status();
  EXPECT_EQ(*logs_->Append(Engine(), 0, "abcdef"), 6);
  EXPECT_EQ(Whole(Engine()), "abcdef");
}

TEST_F(JobLogsTest, ListenersHearOfTheirJobUntilTheyGo) {
  int heard = 0;
  auto listening = logs_->Listen("a", [&] { ++heard; });
  ASSERT_TRUE(logs_->Append(Engine(), 0, "x").ok());
  ASSERT_TRUE(logs_->Append({"b", 1, v1::JOB_LOG_STREAM_ENGINE}, 0, "x").ok());
  listening = nullptr;
  ASSERT_TRUE(logs_->Append(Engine(), 1, "y").ok());
  EXPECT_EQ(heard, 1);
}

TEST_F(JobLogsTest, ADeletedJobHasNone) {
  ASSERT_TRUE(logs_->Append(Engine(), 0, "x").ok());
  EXPECT_THAT(*logs_->JobIds(), ElementsAre("a"));
  ASSERT_TRUE(logs_->Delete("a").ok());
  ASSERT_TRUE(logs_->Delete("a").ok());
  EXPECT_THAT(*logs_->JobIds(), IsEmpty());
}

}  // namespace
}  // namespace graft
