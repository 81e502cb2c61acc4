#include <string>
#include <vector>

#include "common/errors/status_details.h"
#include "common/rpc/status.h"
#include "gmock/gmock.h"
#include "graft/v1/job.grpc.pb.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class FakePlanner : public v1::JobService::Service {
 public:
  grpc::Status CreateJob(grpc::ServerContext*, const v1::CreateJobRequest* request,
                         v1::Job* job) override {
    if (!request->validate_only()) created.push_back(*request);
    *job = request->job();
    return grpc::Status::OK;
  }
  grpc::Status PlanJob(grpc::ServerContext*, const v1::PlanJobRequest* request,
                       v1::JobPlan* plan) override {
    asked.push_back(*request);
    if (!refusal.ok()) return ToGrpcStatus(refusal);
    *plan->mutable_resolved_spec() = request->spec();
    plan->set_total_steps(7);
    v1::PlanWarning& warning = *plan->add_warnings();
    warning.set_field("fine_tune.training.warmup_steps");
    warning.set_text("too long");
    return grpc::Status::OK;
  }

  absl::Status refusal;
  std::vector<v1::PlanJobRequest> asked;
  std::vector<v1::CreateJobRequest> created;
};

class PlanCommandTest : public ::testing::Test {
 protected:
  absl::Status Run(std::vector<std::string> words) {
    ::testing::internal::CaptureStdout();
    words.insert(words.begin(), "plan");
    const absl::Status status = server_.Run(AddPlanCommands, words);
    output_ = ::testing::internal::GetCapturedStdout();
    return status;
  }

  FakePlanner planner_;
  CommandServer server_{std::vector<grpc::Service*>{&planner_}};
  std::string output_;
};

TEST_F(PlanCommandTest, TakesWhatSubmitTakesAndMakesNothing) {
  const absl::Status status = Run({"submit", "--base-model", "tiny", "--train", "news", "--method",
                                   "lora", "--warmup-steps", "9", "--priority", "3",
                                   "--without-worker", "--detectable-difference", "0.02"});
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_THAT(planner_.asked, SizeIs(1));
  const v1::PlanJobRequest& asked = planner_.asked[0];
  EXPECT_EQ(asked.spec().fine_tune().training().warmup_steps(), 9);
  EXPECT_EQ(asked.priority(), 3);
  EXPECT_TRUE(asked.without_worker());
  EXPECT_EQ(asked.detectable_difference(), 0.02);
  EXPECT_THAT(planner_.created, IsEmpty());
  EXPECT_THAT(output_, HasSubstr("steps          7\n"));
  EXPECT_THAT(output_, HasSubstr("warning        --warmup-steps: too long\n"));
}

TEST_F(PlanCommandTest, AListHasAPlanOfEachJob) {
  ASSERT_TRUE(Run({"submit", "--base-model", "tiny", "--train", "news", "--method", "lora",
                   "--rank", "2,4", "--name", "ranks"})
                  .ok());
  EXPECT_THAT(planner_.asked, SizeIs(2));
  EXPECT_EQ(planner_.asked[1].spec().fine_tune().method().lora().rank(), 4);
  EXPECT_THAT(output_, HasSubstr("rank=4"));
}

TEST_F(PlanCommandTest, AnEvaluationHasItsOwnFlags) {
  ASSERT_TRUE(Run({"eval", "--adapter", "mine", "--data", "news"}).ok());
  ASSERT_THAT(planner_.asked, SizeIs(1));
  EXPECT_EQ(planner_.asked[0].spec().evaluate().adapter(), "mine");
  EXPECT_FALSE(planner_.asked[0].without_worker());
  EXPECT_FALSE(Run({"eval", "--rank", "3"}).ok());
  EXPECT_FALSE(Run({}).ok());
}

TEST_F(PlanCommandTest, ARefusalNamesTheFlag) {
  planner_.refusal = FieldViolation("spec.fine_tune.data.train", "has no rows");
  const absl::Status status =
      Run({"submit", "--base-model", "tiny", "--train", "news", "--method", "lora"});
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  ASSERT_THAT(FieldViolationsOf(status), SizeIs(1));
  EXPECT_EQ(FieldViolationsOf(status)[0].field(), "--train");
}

}  // namespace
}  // namespace graft
