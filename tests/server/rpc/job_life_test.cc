// JobService's verbs about the life of a job, over gRPC.

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using worker::v1::Command;

class JobLifeTest : public ::testing::Test {
 protected:
  template <typename Request>
  using Method = grpc::Status (v1::JobService::Stub::*)(grpc::ClientContext*, const Request&,
                                                        v1::Job*);
  template <typename Request>
  absl::StatusOr<v1::Job> Call(Method<Request> method, const Request& request) {
    const auto context = CallContext();
    v1::Job job;
    const absl::Status status =
        FromGrpcStatus((server_.jobs().*method)(context.get(), request, &job));
    if (!status.ok()) return status;
    return job;
  }
  absl::StatusOr<v1::Job> Pause(const std::string& name, const std::string& request_id = "") {
    v1::PauseJobRequest request;
    request.set_name(name);
    request.set_request_id(request_id);
    return Call(&v1::JobService::Stub::PauseJob, request);
  }
  absl::StatusOr<v1::Job> Resume(const std::string& name) {
    v1::ResumeJobRequest request;
    request.set_name(name);
    return Call(&v1::JobService::Stub::ResumeJob, request);
  }
  absl::StatusOr<v1::Job> Cancel(const std::string& name, bool save_checkpoint) {
    v1::CancelJobRequest request;
    request.set_name(name);
    request.set_save_checkpoint(save_checkpoint);
    return Call(&v1::JobService::Stub::CancelJob, request);
  }
  absl::StatusOr<v1::Job> Update(v1::UpdateJobRequest request,
                                 const std::vector<std::string>& paths) {
    for (const std::string& path : paths) request.mutable_update_mask()->add_paths(path);
    return Call(&v1::JobService::Stub::UpdateJob, request);
  }
  // Of the one field that is refused.
  static std::string Violation(const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    const auto violations = FieldViolationsOf(status);
    EXPECT_THAT(violations, SizeIs(1));
    return violations.empty() ? "" : violations[0].field() + ": " + violations[0].description();
  }

  TestServer server_;
  FakeWorker worker_{server_, "w1", "i1"};
};

TEST_F(JobLifeTest, APauseReachesTheWorkerAndTheJobGoesOnWhenItIsResumed) {
  worker_.Connect();
  const std::string job = server_.Create(LoraJob())->name();
  const auto lease = worker_.Lease("r1");
  EXPECT_EQ(Pause(job, "once")->state(), v1::JOB_STATE_PAUSING);
  EXPECT_EQ(Pause(job, "once")->state(), v1::JOB_STATE_PAUSING);
  EXPECT_EQ(ReasonOf(Pause(job).status()), kReasonWrongState);
  const Command command = worker_.NextCommand(Command::kPauseJob);
  EXPECT_EQ(command.pause_job().job(), job);
  EXPECT_EQ(command.pause_job().lease_epoch(), lease->lease_epoch());
  // The heartbeat repeats what the stream may have lost.
  const auto heartbeat = worker_.Heartbeat({*lease}, 0);
  EXPECT_TRUE(heartbeat->renewals(0).pause());
  EXPECT_FALSE(heartbeat->renewals(0).cancel());
  worker::v1::FinishAttemptRequest end;
  end.mutable_paused();
  EXPECT_EQ(*worker_.Finish(*lease, 0, end), v1::JOB_STATE_PAUSED);
  EXPECT_EQ(Resume(job)->state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(worker_.LeaseSoon("r2")->job(), job);
}

TEST_F(JobLifeTest, AWorkerHearsWhetherItSavesBeforeItCancels) {
  worker_.Connect();
  const std::string job = server_.Create(LoraJob())->name();
  const auto lease = worker_.Lease("r1");
  EXPECT_TRUE(Cancel(job, true)->cancel_saves());
  EXPECT_TRUE(worker_.NextCommand(Command::kCancelJob).cancel_job().save_checkpoint());
  EXPECT_TRUE(worker_.Heartbeat({*lease}, 0)->renewals(0).cancel_saves());
  EXPECT_FALSE(Cancel(job, false)->cancel_saves());
  EXPECT_FALSE(worker_.NextCommand(Command::kCancelJob).cancel_job().save_checkpoint());
  const auto heartbeat = worker_.Heartbeat({*lease}, 0);
  EXPECT_TRUE(heartbeat->renewals(0).cancel());
  EXPECT_FALSE(heartbeat->renewals(0).cancel_saves());
}

TEST_F(JobLifeTest, ACheckpointIsAskedForByTheHeartbeat) {
  worker_.Connect();
  const std::string job = server_.Create(LoraJob())->name();
  const auto lease = worker_.Lease("r1");
  v1::CheckpointJobRequest request;
  request.set_name(job);
  EXPECT_EQ(Call(&v1::JobService::Stub::CheckpointJob, request)->requested_checkpoint_step(), 1);
  EXPECT_EQ(worker_.Heartbeat({*lease}, 0)->renewals(0).checkpoint_step(), 1);
}

TEST_F(JobLifeTest, ARetryIsLeasedAsAnyJob) {
  worker_.Connect();
  const std::string job = server_.Create(LoraJob())->name();
  v1::RetryJobRequest request;
  request.set_name(job);
  EXPECT_EQ(ReasonOf(Call(&v1::JobService::Stub::RetryJob, request).status()), kReasonWrongState);
  ASSERT_TRUE(server_.Cancel(job).ok());
  const auto retry = Call(&v1::JobService::Stub::RetryJob, request);
  ASSERT_TRUE(retry.ok()) << retry.status();
  EXPECT_EQ(retry->retry_of(), job);
  EXPECT_EQ(worker_.LeaseSoon("r1")->job(), retry->name());
}

TEST_F(JobLifeTest, AnUpdateChangesOnlyWhatTheMaskNames) {
  const std::string name = server_.Create(LoraJob())->name();
  v1::UpdateJobRequest request;
  request.mutable_job()->set_name(name);
  request.mutable_job()->set_priority(9);
  request.mutable_job()->set_display_name("new");
  (*request.mutable_job()->mutable_labels())["a"] = "1";
  const auto first = Update(request, {"priority", "labels.a"});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->priority(), 9);
  EXPECT_EQ(first->labels().at("a"), "1");
  EXPECT_NE(first->display_name(), "new");
  request.mutable_job()->clear_labels();
  (*request.mutable_job()->mutable_labels())["b"] = "2";
  EXPECT_THAT(Update(request, {"labels.b"})->labels(), SizeIs(2));
  EXPECT_THAT(Update(request, {"labels"})->labels(), SizeIs(1));
  EXPECT_THAT(Update(request, {"labels.a", "labels.c"})->labels(), SizeIs(1));
  request.mutable_job()->set_etag("0");
  EXPECT_EQ(ReasonOf(Update(request, {"priority"}).status()), kReasonVersionChanged);
}

TEST_F(JobLifeTest, UpdatesOfWhatCannotBeChangedAreRefusedByTheirPath) {
  const std::string name = server_.Create(LoraJob())->name();
  v1::UpdateJobRequest request;
  request.mutable_job()->set_name(name);
  EXPECT_THAT(Violation(Update(request, {}).status()), HasSubstr("update_mask: must name"));
  EXPECT_THAT(Violation(Update(request, {"spec"}).status()),
              HasSubstr("\"spec\" of a job cannot be changed; display_name, labels"));
  EXPECT_THAT(Violation(Update(request, {"labels.Ä"}).status()), HasSubstr("a label's key"));
  EXPECT_THAT(Violation(Update(request, std::vector<std::string>(65, "priority")).status()),
              HasSubstr("has 65 paths"));
  request.mutable_job()->set_priority(5000);
  EXPECT_THAT(Violation(Update(request, {"priority"}).status()), HasSubstr("job.priority"));
  request.mutable_job()->set_name("../x");
  EXPECT_EQ(Update(request, {"priority"}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace graft
