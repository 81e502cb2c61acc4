#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Takes `capacity` jobs, and then answers with `full`.
class FakeJobs : public v1::JobService::Service {
 public:
  grpc::Status CreateJob(grpc::ServerContext*, const v1::CreateJobRequest* request,
                         v1::Job* job) override {
    *job = request->job();
    if (request->validate_only()) return grpc::Status::OK;
    created.push_back(*request);
    if (created.size() > capacity) return grpc::Status(full, "the answer of this test");
    job->set_name(absl::StrCat("jobs/", created.size()));
    return grpc::Status::OK;
  }

  size_t capacity = 100;
  grpc::StatusCode full = grpc::StatusCode::UNAVAILABLE;
  std::vector<v1::CreateJobRequest> created;
};

class SubmitCommandsTest : public ::testing::Test {
 protected:
  static ApiClient::Options Impatient() {
    ApiClient::Options options;
    options.patience = absl::ZeroDuration();
    return options;
  }

  // Submits ranks 2 and 4, or the flags of `more`. `errors_` is what standard error got.
  absl::Status Submit(const std::vector<std::string>& more) {
    std::vector<std::string> words = {"submit", "--base-model", "m", "--method",
                                      "lora",   "--train",      "d"};
    words.insert(words.end(), more.begin(), more.end());
    ::testing::internal::CaptureStderr();
    const absl::Status status = server_.Run(AddSubmitCommand, words);
    errors_ = ::testing::internal::GetCapturedStderr();
    return status;
  }

  std::vector<std::string> RequestIds() const {
    std::vector<std::string> ids;
    for (const v1::CreateJobRequest& request : jobs_.created) ids.push_back(request.request_id());
    return ids;
  }

  FakeJobs jobs_;
  CommandServer server_{std::vector<grpc::Service*>{&jobs_}, Impatient()};
  std::string errors_;
};

TEST_F(SubmitCommandsTest, TheSameRequestIdMakesTheSameRequests) {
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(Submit({"--rank", "2,4", "--request-id", "mine"}).ok());
  EXPECT_THAT(RequestIds(), ElementsAre("mine-1", "mine-2", "mine-1", "mine-2"));
  EXPECT_NE(jobs_.created[0].job().study(), "");
  EXPECT_EQ(jobs_.created[0].job().study(), jobs_.created[2].job().study());
  ASSERT_TRUE(Submit({"--request-id", "one"}).ok());
  EXPECT_EQ(RequestIds().back(), "one");
  ASSERT_TRUE(Submit({"--rank", "2,4", "--request-id", "yours"}).ok());
  EXPECT_NE(jobs_.created.back().job().study(), jobs_.created[0].job().study());
}

TEST_F(SubmitCommandsTest, ARequestIdThatTheServerWouldRefuseIsUsage) {
  const std::string longest(kMaxRequestIdBytes, 'x');
  EXPECT_EQ(Submit({"--rank", "2,4", "--request-id", longest}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Submit({"--request-id", "two words"}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(jobs_.created.empty());
}

TEST_F(SubmitCommandsTest, ALostAnswerTellsHowToRepeat) {
  jobs_.capacity = 0;
  EXPECT_EQ(Submit({}).code(), absl::StatusCode::kUnavailable);
  ASSERT_EQ(jobs_.created.size(), 1u);
  EXPECT_THAT(errors_, HasSubstr("--request-id " + jobs_.created[0].request_id() + "\n"));
}

TEST_F(SubmitCommandsTest, AStudyThatEndedInTheMiddleTellsHowToGoOn) {
  jobs_.capacity = 2;
  jobs_.full = grpc::StatusCode::RESOURCE_EXHAUSTED;
  EXPECT_EQ(Submit({"--rank", "2,4,8", "--request-id", "mine"}).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(errors_, HasSubstr("2 of 3 jobs are there; "));
  EXPECT_THAT(errors_, HasSubstr("--request-id mine\n"));
}

TEST_F(SubmitCommandsTest, ARefusedJobNeedsNoRepetition) {
  jobs_.capacity = 0;
  jobs_.full = grpc::StatusCode::NOT_FOUND;
  EXPECT_EQ(Submit({}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(errors_, "");
}

}  // namespace
}  // namespace graft
