#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Jobs that have run and ended: "jobs/bad" failed.
class PastJobs : public v1::JobService::Service {
 public:
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                      v1::Job* job) override {
    if (request->name() == "jobs/none") return grpc::Status(grpc::StatusCode::NOT_FOUND, "no job");
    job->set_name("jobs/" + request->name().substr(request->name().find('/') + 1));
    job->set_state(EndOf(job->name()));
    return grpc::Status::OK;
  }
  grpc::Status WatchJob(grpc::ServerContext*, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::WatchJobResponse>* writer) override {
    v1::WatchJobResponse response;
    response.mutable_event()->set_sequence(1);
    response.mutable_event()->mutable_state_change()->set_to(EndOf(request->name()));
    response.mutable_event()->mutable_state_change()->set_reason("over");
    writer->Write(response);
    return grpc::Status::OK;
  }

 private:
  static v1::JobState EndOf(const std::string& name) {
    return name == "jobs/bad" ? v1::JOB_STATE_FAILED : v1::JOB_STATE_SUCCEEDED;
  }
};

class WatchCommandTest : public ::testing::Test {
 protected:
  absl::Status Run(std::vector<std::string> words) {
    ::testing::internal::CaptureStdout();
    words.insert(words.begin(), "watch");
    const absl::Status status = server_.Run(AddJobCommands, words);
    out_ = ::testing::internal::GetCapturedStdout();
    return status;
  }

  PastJobs jobs_;
  CommandServer server_{std::vector<grpc::Service*>{&jobs_}};
  std::string out_;
};

TEST_F(WatchCommandTest, LinesOfSeveralJobsBeginWithTheirNames) {
  EXPECT_TRUE(Run({"jobs/a", "b", "jobs/b"}).ok());
  EXPECT_THAT(out_, HasSubstr("jobs/a: succeeded (over)\n"));
  EXPECT_THAT(out_, HasSubstr("jobs/b: succeeded (over)\n"));
  EXPECT_EQ(out_.find("jobs/b: "), out_.rfind("jobs/b: "));
  EXPECT_TRUE(Run({"jobs/a"}).ok());
  EXPECT_THAT(out_, Not(HasSubstr("jobs/a:")));
}

TEST_F(WatchCommandTest, OneThatFailedMakesItFail) {
  const absl::Status status = Run({"jobs/a", "jobs/bad"});
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_TRUE(IsAlreadyPrinted(status));
  EXPECT_THAT(out_, HasSubstr("jobs/bad: failed (over)\n"));
  EXPECT_THAT(out_, HasSubstr("logs jobs/bad\n"));  // What to do next.
  EXPECT_THAT(out_, HasSubstr("jobs/a: succeeded"));
}

TEST_F(WatchCommandTest, InJsonEachEventSaysWhoseItIs) {
  server_.context().json = true;
  EXPECT_TRUE(Run({"jobs/a", "jobs/b"}).ok());
  EXPECT_THAT(out_, HasSubstr("{\"job\":\"jobs/b\",\"event\":{\"sequence\":\"1\","));
}

TEST_F(WatchCommandTest, WhatCannotBeWatchedIsRefusedFirst) {
  EXPECT_TRUE(absl::IsNotFound(Run({"jobs/a", "jobs/none"})));
  EXPECT_TRUE(absl::IsInvalidArgument(Run({"jobs/a", "studies/s"})));
  EXPECT_TRUE(absl::IsInvalidArgument(Run({"jobs/a", "jobs/b", "--after", "3"})));
  EXPECT_TRUE(absl::IsInvalidArgument(Run({"studies/s", "--after", "3"})));
  EXPECT_EQ(out_, "");
}

}  // namespace
}  // namespace graft
