#include "server/catalogue/log_source.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/telemetry/log.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/test_server.h"
#include "tests/server/store/changes_heard.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

// One ReadJobLog call.
class LogReader {
 public:
  LogReader(TestServer& server, const v1::ReadJobLogRequest& request) : context_(CallContext()) {
    reader_ = server.jobs().ReadJobLog(context_.get(), request);
  }
  v1::JobLogChunk Next() {
    v1::JobLogChunk chunk;
    if (!reader_->Read(&chunk)) chunk.Clear();
    return chunk;
  }
  std::string Rest() {
    std::string text;
    for (v1::JobLogChunk chunk = Next(); !chunk.data().empty(); chunk = Next()) {
      text += chunk.data();
    }
    return text;
  }
  absl::Status Finish() { return FromGrpcStatus(reader_->Finish()); }

 private:
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReader<v1::JobLogChunk>> reader_;
};

class LogSourceTest : public ::testing::Test {
 protected:
  LogSourceTest() : job_(server_.Create(LoraJob())->name()) { request_.set_name(job_); }

  worker::v1::Lease Lease(const std::string& request_id = "r1") {
    return *worker_.LeaseSoon(request_id);
  }
  absl::StatusOr<v1::JobState> Fail(const worker::v1::Lease& lease, v1::FailureClass failure_class,
                                    const std::string& message) {
    worker::v1::FinishAttemptRequest request;
    request.mutable_failed()->mutable_error()->set_code(14);
    request.mutable_failed()->mutable_error()->set_message(message);
    request.mutable_failed()->set_failure_class(failure_class);
    return worker_.Finish(lease, 0, request);
  }
  v1::ReadJobLogRequest Engine() const {
    v1::ReadJobLogRequest request;
    request.set_name(job_);
    request.set_stream(v1::JOB_LOG_STREAM_ENGINE);
    return request;
  }

  TestServer server_;
  ChangesHeard changes_{server_.store()};
  FakeWorker worker_{server_};
  const std::string job_;
  v1::ReadJobLogRequest request_;
};

TEST_F(LogSourceTest, WhatTheWorkerAppendedIsReadByAttemptAndStream) {
  const auto lease = Lease();
  EXPECT_EQ(*worker_.AppendLog(job_, 1, 0, "loading\n"), 8);
  EXPECT_EQ(*worker_.AppendLog(job_, 1, 8, "training\n"), 17);
  EXPECT_EQ(*worker_.AppendLog(job_, 1, 0, "leased\n", v1::JOB_LOG_STREAM_WORKER), 7);
  EXPECT_EQ(LogReader(server_, Engine()).Rest(), "loading\ntraining\n");
  v1::ReadJobLogRequest request = Engine();
  request.set_offset_bytes(8);
  const v1::JobLogChunk chunk = LogReader(server_, request).Next();
  EXPECT_EQ(chunk.attempt(), 1);
  EXPECT_EQ(chunk.offset_bytes(), 8);
  EXPECT_EQ(chunk.data(), "training\n");
  request.set_stream(v1::JOB_LOG_STREAM_WORKER);
  request.set_offset_bytes(0);
  EXPECT_EQ(LogReader(server_, request).Rest(), "leased\n");
}

TEST_F(LogSourceTest, ALogIsTakenAfterTheLeaseHasEnded) {
  const auto lease = Lease();
  ASSERT_TRUE(Fail(lease, v1::FAILURE_CLASS_DATA, "line 3").ok());
  ASSERT_TRUE(server_.Get(job_)->done());
  EXPECT_TRUE(worker_.AppendLog(job_, 1, 0, "last words\n").ok());
  EXPECT_EQ(LogReader(server_, Engine()).Rest(), "last words\n");
}

TEST_F(LogSourceTest, OnlyTheAttemptsOwnWorkerIsHeard) {
  Lease();
  FakeWorker other(server_, "w2");
  EXPECT_TRUE(absl::IsFailedPrecondition(other.AppendLog(job_, 1, 0, "x").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(worker_.AppendLog(job_, 2, 0, "x").status()));
  EXPECT_TRUE(absl::IsNotFound(worker_.AppendLog("jobs/none", 1, 0, "x").status()));
  FakeWorker restarted(server_, "w1", "i2");
  EXPECT_TRUE(restarted.AppendLog(job_, 1, 0, "what was left").ok());
}

TEST_F(LogSourceTest, AFollowerSeesWhatComesAndTheEndOfTheAttempt) {
  v1::ReadJobLogRequest request = Engine();
  request.set_follow(true);
  LogReader reader(server_, request);  // Before the first attempt.
  const auto lease = Lease();
  ASSERT_TRUE(worker_.AppendLog(job_, 1, 0, "one\n").ok());
  EXPECT_EQ(reader.Next().data(), "one\n");
  ASSERT_TRUE(worker_.AppendLog(job_, 1, 4, "two\n").ok());
  EXPECT_EQ(reader.Next().data(), "two\n");
  ASSERT_TRUE(Fail(lease, v1::FAILURE_CLASS_INFRASTRUCTURE, "killed").ok());
  EXPECT_EQ(reader.Rest(), "");
  EXPECT_TRUE(reader.Finish().ok());
}

TEST_F(LogSourceTest, EachAttemptHasItsOwn) {
  ASSERT_TRUE(Fail(Lease("r1"), v1::FAILURE_CLASS_INFRASTRUCTURE, "killed").ok());
  ASSERT_TRUE(worker_.AppendLog(job_, 1, 0, "first").ok());
  const auto lease = Lease("r2");
  ASSERT_EQ(lease.attempt(), 2);
  ASSERT_TRUE(worker_.AppendLog(job_, 2, 0, "second").ok());
  EXPECT_EQ(LogReader(server_, Engine()).Rest(), "second") << "the latest by default";
  v1::ReadJobLogRequest request = Engine();
  request.set_attempt(1);
  EXPECT_EQ(LogReader(server_, request).Rest(), "first");
}

TEST_F(LogSourceTest, WhatThereIsNotIsRefused) {
  const auto end = [&](const v1::ReadJobLogRequest& request) {
    LogReader reader(server_, request);
    reader.Rest();
    return reader.Finish();
  };
  EXPECT_TRUE(absl::IsNotFound(end(Engine()))) << "no attempt yet";
  Lease();
  v1::ReadJobLogRequest request = Engine();
  request.set_attempt(2);
  EXPECT_THAT(std::string(end(request).message()), HasSubstr("has had 1 attempts, not 2"));
  request.set_attempt(-1);
  EXPECT_TRUE(absl::IsInvalidArgument(end(request)));
  request = Engine();
  request.set_offset_bytes(1);
  EXPECT_TRUE(absl::IsOutOfRange(end(request)));
  request = Engine();
  request.clear_stream();
  EXPECT_TRUE(absl::IsInvalidArgument(end(request)));
  request = Engine();
  request.set_name("jobs/none");
  EXPECT_TRUE(absl::IsNotFound(end(request)));
}

TEST_F(LogSourceTest, ADeletedJobTakesItsLogsAlong) {
  ASSERT_TRUE(Fail(Lease(), v1::FAILURE_CLASS_DATA, "line 3").ok());
  ASSERT_TRUE(worker_.AppendLog(job_, 1, 0, "x").ok());
  v1::DeleteJobRequest request;
  request.set_name(job_);
  google::protobuf::Empty empty;
  ASSERT_TRUE(server_.jobs().DeleteJob(CallContext().get(), request, &empty).ok());
  EXPECT_TRUE(server_.logs().JobIds()->empty());
}

TEST_F(LogSourceTest, TheServersOwnLogHasEveryFailureWithClassAndMessage) {
  std::string lines;
  {
    const JobLogTap tap(job_, [&](absl::string_view line) { lines += std::string(line); });
    ASSERT_TRUE(Fail(Lease("r1"), v1::FAILURE_CLASS_INFRASTRUCTURE, "signal 9").ok());
    ASSERT_TRUE(Fail(Lease("r2"), v1::FAILURE_CLASS_DATA, "line 3: no JSON").ok());
    changes_.WaitForAll();
  }
  EXPECT_THAT(lines, HasSubstr("W "));
  EXPECT_THAT(lines, HasSubstr("attempt failed attempt=1 class=INFRASTRUCTURE worker=w1 "
                               "error=\"signal 9; begins again (failure 1 of 5"));
  EXPECT_THAT(lines, HasSubstr("attempt failed attempt=2 class=DATA worker=w1 "
                               "error=\"line 3: no JSON\""));
}

}  // namespace
}  // namespace graft
