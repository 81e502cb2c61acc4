#include <set>
#include <string>
#include <vector>

#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/worker_service_fixture.h"
#include "tests/server/store/changes_heard.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using worker::v1::Command;

class WorkerServiceTest : public WorkerServiceFixture {};

TEST_F(WorkerServiceTest, TheWelcomeComesFirstAndWorkIsAnnounced) {
  const Command welcome = worker_.Connect();
  EXPECT_EQ(welcome.welcome().lease_duration().seconds(), 60);
  EXPECT_TRUE(DirectoryExists(welcome.welcome().blobs_directory()));
  EXPECT_EQ(welcome.welcome().default_threads(), 2);
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  EXPECT_TRUE(worker_.NextCommand(Command::kWorkAvailable).has_work_available());
}

TEST_F(WorkerServiceTest, ALeaseCarriesEverythingTheJobReads) {
  const auto job = server_.Create(LoraJob("my job"));
  const auto lease = worker_.Lease("r1");
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(lease->job(), job->name());
  EXPECT_EQ(lease->attempt(), 1);
  EXPECT_EQ(lease->base_model_name(), "tiny");
  EXPECT_EQ(lease->display_name(), "my job");
  std::set<std::string> paths;
  for (const v1::Artifact& file : lease->base_model().files()) {
    paths.insert(file.path());
    EXPECT_TRUE(server_.blobs().Stat(file.sha256()).ok()) << file.path();
  }
  EXPECT_THAT(paths, IsSupersetOf({"config.json", "model.safetensors", "vocab.json"}));
  EXPECT_EQ(*server_.blobs().Get(lease->train_data().sha256(), 1 << 20), NewsRows(12));
  EXPECT_EQ(lease->train_data().path(), "data.jsonl");
}

TEST_F(WorkerServiceTest, AClaimGetsWhatItsWorkerCanDoAndAHandBackIsNoFailure) {
  ChangesHeard changes(server_.store());
  worker_.Connect();
  v1::CreateJobRequest bf16 = LoraJob();
  bf16.mutable_job()->mutable_spec()->mutable_fine_tune()->mutable_training()->set_precision(
      v1::PRECISION_BF16);
  const auto job = server_.Create(bf16);
  ASSERT_TRUE(job.ok());
  worker::v1::LeaseJobRequest asks;
  asks.mutable_capabilities()->add_devices("cpu");
  asks.mutable_capabilities()->add_precisions("fp32");
  EXPECT_EQ(worker_.Lease("r1", asks)->job(), "");
  EXPECT_THAT(server_.Get(job->name())->state_reason(),
              HasSubstr("; no worker that is connected can take it; it needs bf16"));
  asks.mutable_capabilities()->add_precisions("bf16");
  const auto lease = worker_.Lease("r2", asks);
  ASSERT_EQ(lease->job(), job->name());
  worker::v1::FinishAttemptRequest end;
  end.mutable_returned()->mutable_reason()->set_message("the disk is full");
  end.mutable_returned()->set_worker_fault(true);
  EXPECT_EQ(*worker_.Finish(*lease, 0, end), v1::JOB_STATE_QUEUED);
  changes.WaitForAll();
  EXPECT_THAT(
      server_.Get(job->name())->state_reason(),
      HasSubstr(
          "handed back by worker w1: the disk is full; begins again; the workers that could take "
          "it are set aside"));
  EXPECT_THAT(server_.registry().Text(), HasSubstr("graft_workers_set_aside 1"));
  EXPECT_THAT(server_.registry().Text(), HasSubstr("graft_job_requeues_total 0"));
}

// What another's text did to the engine is no reason to keep the job from this worker.
TEST_F(WorkerServiceTest, AHandBackOfABystanderSaysNothingOfItsWorker) {
  Mutex mutex;
  std::vector<AttemptEnd> ends;
  const auto subscription = server_.store().Subscribe("", [&](const JobChange& change) {
    MutexLock lock(mutex);
    if (change.end != AttemptEnd::kNone) ends.push_back(change.end);
  });
  ChangesHeard changes(server_.store());
  worker_.Connect();
  for (const bool bystander : {true, false}) {
    ASSERT_TRUE(server_.Create(LoraJob()).ok());
    const auto lease = worker_.Lease(bystander ? "r1" : "r2");
    ASSERT_TRUE(lease.ok());
    worker::v1::FinishAttemptRequest end;
    end.mutable_returned()->mutable_reason()->set_message("a text ended it");
    end.mutable_returned()->set_bystander(bystander);
    EXPECT_EQ(*worker_.Finish(*lease, 0, end), v1::JOB_STATE_QUEUED);
    changes.WaitForAll();
  }
  MutexLock lock(mutex);
  EXPECT_THAT(ends, testing::ElementsAre(AttemptEnd::kOther, AttemptEnd::kReturned));
}

// A worker fetches what is set: a field that was made by asking for it is a file without a hash.
TEST_F(WorkerServiceTest, ALeaseHasNoInputThatTheSpecDoesNotName) {
  v1::CreateJobRequest trains = LoraJob();
  trains.mutable_job()
      ->mutable_spec()
      ->mutable_fine_tune()
      ->mutable_data()
      ->set_validation_fraction(0.25);
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  ASSERT_TRUE(server_.Create(trains).ok());
  for (const char* request : {"without validation", "held out"}) {
    const auto lease = worker_.Lease(request);
    ASSERT_TRUE(lease.ok() && !lease->job().empty()) << request;
    EXPECT_TRUE(lease->has_train_data()) << request;
    EXPECT_FALSE(lease->has_validation_data()) << request;
    EXPECT_FALSE(lease->has_adapter()) << request;
    EXPECT_FALSE(lease->has_checkpoint()) << request;
  }
}

TEST_F(WorkerServiceTest, ALeaseOfAnEvaluationHasNoTrainingData) {
  v1::CreateJobRequest request;
  v1::EvaluateSpec& spec = *request.mutable_job()->mutable_spec()->mutable_evaluate();
  spec.set_base_model("tiny");
  spec.mutable_data()->set_validation("news");
  ASSERT_TRUE(server_.Create(request).ok());
  const auto lease = worker_.Lease("r1");
  ASSERT_TRUE(lease.ok() && !lease->job().empty());
  EXPECT_FALSE(lease->has_train_data());
  EXPECT_EQ(lease->validation_data().path(), "data.jsonl");
}

TEST_F(WorkerServiceTest, TheSameRequestIdGetsTheSameLease) {
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  const auto first = worker_.Lease("r1");
  EXPECT_EQ(worker_.Lease("r1")->job(), first->job());
  const auto second = worker_.Lease("r2");
  EXPECT_NE(second->job(), first->job());
  EXPECT_EQ(worker_.Lease("r3")->job(), "") << "there is nothing left";
}

TEST_F(WorkerServiceTest, TenJobsRunByPriorityThenInOrderOfSubmission) {
  std::vector<std::string> normal, urgent;
  for (int i = 0; i < 10; ++i) {
    v1::CreateJobRequest request = LoraJob();
    request.mutable_job()->set_priority(i % 3 == 0 ? 5 : 0);
    (i % 3 == 0 ? urgent : normal).push_back(server_.Create(request)->name());
  }
  std::vector<std::string> expected = urgent;
  expected.insert(expected.end(), normal.begin(), normal.end());
  std::vector<std::string> leased;
  for (int i = 0; i < 10; ++i) leased.push_back(worker_.Lease(absl::StrCat("r", i))->job());
  EXPECT_EQ(leased, expected);
}

TEST_F(WorkerServiceTest, JobsAreLeasedAndLeasesRenewedWhileEveryOtherThreadIsBusy) {
  worker_.Connect();
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  Mutex mutex;
  CondVar changed;
  bool over = false;
  int busy = 0;
  ServiceContext& context = server_.rpc().context();
  for (RpcRuntime* runtime : {&context.runtime, &context.worker_runtime}) {
    for (const Lane lane : {Lane::kShort, Lane::kBulk, Lane::kLong}) {
      for (int i = 0; i < kShortThreads; ++i) {
        ++busy;
        runtime->executor(lane).Schedule([&] {
          MutexLock lock(mutex);
          while (!over) changed.Wait(mutex);
          --busy;
          changed.NotifyAll();
        });
      }
    }
  }
  const auto lease = worker_.Lease("r1");
  const auto heartbeat = worker_.Heartbeat({lease.value_or(worker::v1::Lease())}, 0);
  {
    MutexLock lock(mutex);
    over = true;
    changed.NotifyAll();
    while (busy > 0) changed.Wait(mutex);
  }
  ASSERT_TRUE(lease.ok()) << lease.status();
  ASSERT_TRUE(heartbeat.ok()) << heartbeat.status();
  EXPECT_TRUE(heartbeat->renewals(0).held());
}

TEST_F(WorkerServiceTest, ACancelReachesTheWorkerAndEndsTheJob) {
  worker_.Connect();
  const std::string job = server_.Create(LoraJob())->name();
  const auto lease = worker_.Lease("r1");
  EXPECT_EQ(server_.Cancel(job)->state(), v1::JOB_STATE_CANCELLING);
  const Command command = worker_.NextCommand(Command::kCancelJob);
  EXPECT_EQ(command.cancel_job().job(), job);
  EXPECT_EQ(command.cancel_job().lease_epoch(), lease->lease_epoch());
  // The heartbeat repeats what the stream may have lost.
  const auto heartbeat = worker_.Heartbeat({*lease}, 0);
  ASSERT_EQ(heartbeat->renewals_size(), 1);
  EXPECT_TRUE(heartbeat->renewals(0).held());
  EXPECT_TRUE(heartbeat->renewals(0).cancel());
  worker::v1::FinishAttemptRequest end;
  end.mutable_cancelled();
  EXPECT_EQ(*worker_.Finish(*lease, 0, end), v1::JOB_STATE_CANCELLED);
}

TEST_F(WorkerServiceTest, EverythingUnderAStaleLeaseIsRefused) {
  worker_.Connect();
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  const auto stale = worker_.Lease("r1");
  // The worker starts anew: what its predecessor held is free again.
  FakeWorker successor(server_, "w1", "i2");
  successor.Connect();
  const auto fresh = successor.LeaseSoon("r2");
  ASSERT_TRUE(fresh.ok()) << fresh.status();
  ASSERT_EQ(fresh->job(), stale->job());
  EXPECT_GT(fresh->lease_epoch(), stale->lease_epoch());
  EXPECT_EQ(fresh->attempt(), 2);

  EXPECT_EQ(ReasonOf(worker_.Report(*stale, 1, {StepEvent(1, 1)}).status()), kReasonStaleLease);
  worker::v1::FinishAttemptRequest end;
  end.mutable_cancelled();
  const auto finished = worker_.Finish(*stale, 0, end);
  EXPECT_EQ(finished.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(finished.status()), kReasonStaleLease);
  const auto succeeded = worker_.Finish(*stale, 0, Succeeded(UploadAdapter()));
  EXPECT_EQ(ReasonOf(succeeded.status()), kReasonStaleLease);
  const auto prepared = ListDirectory(server_.directory().Path("artifacts/adapters/.by-uid"));
  EXPECT_TRUE(!prepared.ok() || prepared->empty()) << "nothing keeps what it uploaded";
  worker::v1::CommitCheckpointRequest checkpoint;
  *checkpoint.mutable_worker() = worker_.identity();
  checkpoint.set_job(stale->job());
  checkpoint.set_lease_epoch(stale->lease_epoch());
  checkpoint.set_step(1);
  *checkpoint.add_files() = worker_.UploadBlob("state", "bytes");
  google::protobuf::Empty empty;
  const auto context = CallContext();
  const absl::Status refused =
      FromGrpcStatus(worker_.stub().CommitCheckpoint(context.get(), checkpoint, &empty));
  EXPECT_EQ(ReasonOf(refused), kReasonStaleLease);
  const auto heartbeat = worker_.Heartbeat({*stale}, 0);
  EXPECT_FALSE(heartbeat->renewals(0).held());
}

TEST_F(WorkerServiceTest, ARepeatedBatchIsAcknowledgedAndDropped) {
  const std::string job = server_.Create(LoraJob())->name();
  const auto lease = worker_.Lease("r1");
  ASSERT_EQ(*worker_.Report(*lease, 1, {StepEvent(1, 1)}), 1);
  ASSERT_EQ(*worker_.Report(*lease, 1, {StepEvent(1, 1)}), 1);
  EXPECT_EQ(*worker_.Report(*lease, 3, {StepEvent(3, 1)}), 1) << "2 is missing";
  EXPECT_EQ(server_.Get(job)->last_sequence(), 3) << "queued, running, step 1";
}

TEST_F(WorkerServiceTest, AnExpiredLeaseRequeuesTheJobFromItsCheckpoint) {
  TestServer server({.lease_duration = absl::Seconds(1)});
  FakeWorker worker(server);
  const std::string job = server.Create(LoraJob())->name();
  const auto first = worker.Lease("r1");
  worker::v1::CommitCheckpointRequest checkpoint;
  *checkpoint.mutable_worker() = worker.identity();
  checkpoint.set_job(job);
  checkpoint.set_lease_epoch(first->lease_epoch());
  checkpoint.set_step(7);
  *checkpoint.add_files() = worker.UploadBlob("state.safetensors", "state");
  google::protobuf::Empty empty;
  const auto context = CallContext();
  const absl::Status committed =
      FromGrpcStatus(worker.stub().CommitCheckpoint(context.get(), checkpoint, &empty));
  ASSERT_TRUE(committed.ok()) << committed;
  // Nobody renews: the server takes it back by itself.
  for (int64_t head = 0; server.Get(job)->state() != v1::JOB_STATE_QUEUED;) {
    head = *server.store().WaitForEvents(job, head, absl::Seconds(10));
  }
  const auto second = worker.LeaseSoon("r2");
  ASSERT_EQ(second->job(), job);
  EXPECT_EQ(second->checkpoint_step(), 7);
  // The worker keeps the set in a folder of this name.
  EXPECT_TRUE(IsSha256Hex(second->checkpoint().sha256())) << second->checkpoint().sha256();
  EXPECT_EQ(second->checkpoint().files(0).path(), "state.safetensors");
  EXPECT_GT(second->lease_epoch(), first->lease_epoch());
}

TEST_F(WorkerServiceTest, BadIdentitiesAreRefused) {
  FakeWorker nameless(server_, "../w", "i");
  EXPECT_EQ(nameless.Connect().command_case(), Command::COMMAND_NOT_SET);
  nameless.Disconnect();
  EXPECT_EQ(nameless.end().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace graft
