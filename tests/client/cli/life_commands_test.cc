#include <map>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Answers each verb with the state that a job has after it.
class FakeJobs : public v1::JobService::Service {
 public:
  grpc::Status PauseJob(grpc::ServerContext*, const v1::PauseJobRequest* request,
                        v1::Job* response) override {
    return Answer(request->name(), request->request_id(), v1::JOB_STATE_PAUSING, response);
  }
  grpc::Status ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest* request,
                         v1::Job* response) override {
    response->set_state_reason("asked to resume; resumes from step 5");
    return Answer(request->name(), request->request_id(), v1::JOB_STATE_QUEUED, response);
  }
  grpc::Status CheckpointJob(grpc::ServerContext*, const v1::CheckpointJobRequest* request,
                             v1::Job* response) override {
    response->set_step(7);
    return Answer(request->name(), request->request_id(), v1::JOB_STATE_RUNNING, response);
  }
  grpc::Status RetryJob(grpc::ServerContext*, const v1::RetryJobRequest* request,
                        v1::Job* response) override {
    response->set_state_reason(request->from_scratch() ? "begins anew" : "goes on from step 5");
    return Answer("jobs/new", request->request_id(), v1::JOB_STATE_QUEUED, response);
  }
  grpc::Status UpdateJob(grpc::ServerContext*, const v1::UpdateJobRequest* request,
                         v1::Job* response) override {
    updated = *request;
    return Answer(request->job().name(), request->request_id(), v1::JOB_STATE_QUEUED, response);
  }

  v1::UpdateJobRequest updated;
  std::set<std::string> request_ids;

 private:
  grpc::Status Answer(const std::string& name, const std::string& request_id, v1::JobState state,
                      v1::Job* response) {
    EXPECT_NE(request_id, "");
    EXPECT_TRUE(request_ids.insert(request_id).second);
    response->set_name(name);
    response->set_state(state);
    return grpc::Status::OK;
  }
};

class LifeCommandsTest : public ::testing::Test {
 protected:
  // Standard output.
  std::string Run(const std::vector<std::string>& words) {
    ::testing::internal::CaptureStdout();
    const absl::Status status = server_.Run(AddLifeCommands, words);
    EXPECT_TRUE(status.ok()) << status;
    return ::testing::internal::GetCapturedStdout();
  }
  absl::Status Refused(const std::vector<std::string>& words) {
    return server_.Run(AddLifeCommands, words);
  }

  FakeJobs jobs_;
  CommandServer server_{std::vector<grpc::Service*>{&jobs_}};
};

TEST_F(LifeCommandsTest, EachSaysWhatTheJobIsNowAndWhatFollows) {
  EXPECT_EQ(Run({"pause", "jobs/a"}),
            "jobs/a is pausing: it ends its step and saves; then graft resume jobs/a\n");
  EXPECT_EQ(Run({"resume", "jobs/a"}), "jobs/a is queued: asked to resume; resumes from step 5\n");
  EXPECT_EQ(Run({"checkpoint", "jobs/a"}),
            "jobs/a is running at step 7; it saves its state at the end of a step soon\n");
  EXPECT_EQ(Run({"retry", "jobs/a"}), "jobs/new is queued: goes on from step 5\n");
  EXPECT_EQ(Run({"retry", "jobs/a", "--from-scratch"}), "jobs/new is queued: begins anew\n");
}

TEST_F(LifeCommandsTest, EditNamesWhatItChangesAndNothingElse) {
  EXPECT_EQ(Run({"edit", "jobs/a", "--priority", "-3", "--label", "who=anna", "--label",
                 "x=", "--remove-label", "old"}),
            "jobs/a is changed\n");
  EXPECT_THAT(jobs_.updated.update_mask().paths(),
              ElementsAre("priority", "labels.who", "labels.x", "labels.old"));
  EXPECT_EQ(jobs_.updated.job().priority(), -3);
  EXPECT_EQ(jobs_.updated.job().labels().at("who"), "anna");
  EXPECT_EQ(jobs_.updated.job().labels().at("x"), "");
  Run({"edit", "jobs/a", "--name", ""});
  EXPECT_THAT(jobs_.updated.update_mask().paths(), ElementsAre("display_name"));
}

TEST_F(LifeCommandsTest, EditsThatSayNothingOrTwoThingsAreRefused) {
  EXPECT_THAT(Refused({"edit", "jobs/a"}).message(), HasSubstr("nothing to change"));
  EXPECT_THAT(Refused({"edit", "jobs/a", "--label", "who"}).message(), HasSubstr("key=value"));
  EXPECT_THAT(Refused({"edit", "jobs/a", "--label", "who=anna", "--remove-label", "who"}).message(),
              HasSubstr("is given to --label, too"));
  EXPECT_TRUE(jobs_.request_ids.empty());
}

}  // namespace
}  // namespace graft
