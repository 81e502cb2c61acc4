#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class FakeComparison : public v1::JobService::Service {
 public:
  grpc::Status CompareJobs(grpc::ServerContext*, const v1::CompareJobsRequest* request,
                           v1::CompareJobsResponse* response) override {
    last = *request;
    for (const std::string& name : request->names()) {
      response->add_jobs()->set_job(name);
      response->mutable_jobs()->rbegin()->set_label(name.substr(5));
    }
    v1::PairedDifference& difference = *response->add_differences();
    difference.set_job("jobs/b");
    difference.set_label("b - a");
    difference.set_not_comparable("they scored different references");
    response->add_left_out()->set_job("jobs/c");
    response->mutable_left_out(0)->set_why("it is RUNNING");
    return grpc::Status::OK;
  }

  v1::CompareJobsRequest last;
};

class CompareCommandTest : public ::testing::Test {
 protected:
  absl::Status Run(std::vector<std::string> words) {
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    words.insert(words.begin(), "compare");
    const absl::Status status = server_.Run(AddCompareCommand, words);
    out_ = ::testing::internal::GetCapturedStdout();
    error_ = ::testing::internal::GetCapturedStderr();
    return status;
  }

  FakeComparison jobs_;
  CommandServer server_{std::vector<grpc::Service*>{&jobs_}};
  std::string out_, error_;
};

TEST_F(CompareCommandTest, AsksForWhatIsNamedAndSaysWhatIsLeftOut) {
  ASSERT_TRUE(Run({"jobs/a", "jobs/b", "--study", "s", "--metric", "ROUGE1"}).ok());
  EXPECT_THAT(jobs_.last.names(), ElementsAre("jobs/a", "jobs/b"));
  EXPECT_EQ(jobs_.last.study(), "s");
  EXPECT_EQ(jobs_.last.metric(), "rouge1");
  EXPECT_THAT(out_, StartsWith("METHOD "));
  EXPECT_THAT(out_, HasSubstr("\n\nb - a: not comparable, they scored different references\n"));
  EXPECT_EQ(error_, "graft: jobs/c is left out: it is RUNNING\n");
}

TEST_F(CompareCommandTest, IsPrintedAsIsAskedFor) {
  ASSERT_TRUE(Run({"jobs/a", "jobs/b", "--output", "markdown"}).ok());
  EXPECT_THAT(out_, StartsWith("| METHOD | "));
  EXPECT_THAT(out_, HasSubstr("\n\n- b - a: not comparable, they scored"));
  ASSERT_TRUE(Run({"jobs/a", "--output", "csv"}).ok());
  EXPECT_THAT(out_, StartsWith("job,label,"));
  server_.context().json = true;
  ASSERT_TRUE(Run({"jobs/a", "jobs/b"}).ok());
  EXPECT_THAT(out_, HasSubstr("\"not_comparable\":\"they scored different references\""));
}

TEST_F(CompareCommandTest, WrongWordsAreRefusedBeforeAnythingIsAsked) {
  EXPECT_TRUE(absl::IsInvalidArgument(Run({})));
  EXPECT_TRUE(absl::IsInvalidArgument(Run({"jobs/a", "--output", "pdf"})));
  EXPECT_TRUE(absl::IsInvalidArgument(Run({"jobs/a", "--metric", "loss"})));
  EXPECT_EQ(jobs_.last.names_size(), 0);
  server_.context().json = true;
  EXPECT_TRUE(absl::IsInvalidArgument(Run({"jobs/a", "--output", "csv"})));
}

}  // namespace
}  // namespace graft
