#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/rpc/worker_service_fixture.h"

namespace graft {
namespace {

constexpr int kZombies = 4;
constexpr int kCallsOfZombie = 2500;
constexpr int kBatches = 200;

// Workers that lost their lease and do not know it: whatever they say, as often as they may, is
// refused, while the job's present worker goes on.
class ZombieWorkersTest : public WorkerServiceFixture {
 protected:
  // The leases of attempts that are over, the oldest first; `present` has the job now.
  std::vector<worker::v1::Lease> LoseLeases(FakeWorker& present, int count) {
    std::vector<worker::v1::Lease> lost;
    for (int i = 0; i < count; ++i) {
      FakeWorker worker(server_, "w1", absl::StrCat("i", i));
      worker.Connect();
      lost.push_back(*worker.LeaseSoon(absl::StrCat("r", i)));
    }
    FakeWorker last(server_, "w1", "last");
    last.Connect();  // Frees what its predecessor held.
    present.Connect();
    present_ = *present.LeaseSoon("present");
    return lost;
  }

  // Every call that changes something under a lease.
  std::vector<std::function<absl::Status(FakeWorker&, const worker::v1::Lease&)>> Verbs() {
    using worker::v1::FinishAttemptRequest;
    const std::vector<v1::Artifact> adapter = UploadAdapter();
    const v1::Artifact state = worker_.UploadBlob("state.safetensors", "state");
    FinishAttemptRequest failed, cancelled, paused, returned;
    failed.mutable_failed()->mutable_error()->set_message("mine");
    cancelled.mutable_cancelled();
    paused.mutable_paused();
    returned.mutable_returned()->mutable_reason()->set_message("mine");
    std::vector<std::function<absl::Status(FakeWorker&, const worker::v1::Lease&)>> verbs;
    for (const FinishAttemptRequest& end :
         {Succeeded(adapter), failed, cancelled, paused, returned}) {
      verbs.push_back([end](FakeWorker& worker, const worker::v1::Lease& lease) {
        return worker.Finish(lease, 0, end).status();
      });
    }
    verbs.push_back([](FakeWorker& worker, const worker::v1::Lease& lease) {
      return worker.Report(lease, 1, {StepEvent(77, 7.7)}).status();
    });
    verbs.push_back([state](FakeWorker& worker, const worker::v1::Lease& lease) {
      worker::v1::CommitCheckpointRequest request;
      *request.mutable_worker() = worker.identity();
      request.set_job(lease.job());
      request.set_lease_epoch(lease.lease_epoch());
      request.set_step(77);
      *request.add_files() = state;
      google::protobuf::Empty empty;
      const auto context = CallContext();
      return FromGrpcStatus(worker.stub().CommitCheckpoint(context.get(), request, &empty));
    });
    verbs.push_back([](FakeWorker& worker, const worker::v1::Lease& lease) -> absl::Status {
      const auto answer = worker.Heartbeat({lease}, 0);
      if (!answer.ok() || answer->renewals(0).held()) return answer.status();
      return WithReason(absl::FailedPreconditionError("not held"), kReasonStaleLease);
    });
    return verbs;
  }

  worker::v1::Lease present_;
};

TEST_F(ZombieWorkersTest, NoneOfTenThousandCallsUnderAStaleLeaseIsAccepted) {
  const std::string job = server_.Create(LoraJob())->name();
  FakeWorker present(server_, "w2", "present");
  std::vector<worker::v1::Lease> stale = LoseLeases(present, 3);
  ASSERT_EQ(present_.job(), job);
  ASSERT_EQ(present_.lease_epoch(), stale.back().lease_epoch() + 2) << "an end and a claim";
  // Epochs that nobody was given, and the present one in the mouth of another.
  for (const int64_t epoch : {int64_t{0}, int64_t{-1}, present_.lease_epoch() - 1,
                              present_.lease_epoch() + 1, present_.lease_epoch()}) {
    stale.push_back(present_);
    stale.back().set_lease_epoch(epoch);
  }
  const auto verbs = Verbs();
  std::atomic<int> refused = 0, others = 0;
  std::vector<std::thread> zombies;
  for (int z = 0; z < kZombies; ++z) {
    zombies.emplace_back([&, z] {
      FakeWorker zombie(server_, "w1", absl::StrCat("i", z));
      for (int i = 0; i < kCallsOfZombie; ++i) {
        const auto& verb = verbs[i % verbs.size()];
        absl::Status status;
        do {  // Two ends of one job are not looked at at once.
          status = verb(zombie, stale[(i / verbs.size()) % stale.size()]);
        } while (absl::IsUnavailable(status));
        ++(ReasonOf(status) == kReasonStaleLease ? refused : others);
      }
    });
  }
  for (int batch = 1; batch <= kBatches; ++batch) {
    EXPECT_EQ(*present.Report(present_, batch, {StepEvent(batch, 1.0 / batch)}), batch);
  }
  for (std::thread& zombie : zombies) zombie.join();
  EXPECT_EQ(refused, kZombies * kCallsOfZombie);
  EXPECT_EQ(others, 0);
  const v1::Job shown = *server_.Get(job);
  EXPECT_EQ(shown.state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(shown.attempts_size(), 4);
  // What they said is nowhere: no step, no checkpoint, no end, no adapter.
  int64_t step = 0;
  const std::vector<v1::JobEvent> events = *server_.store().ReadEvents(job, 0, 1000);
  for (const v1::JobEvent& event : events) {
    if (event.has_metrics()) {
      EXPECT_EQ(event.metrics().step(), ++step);
    }
    EXPECT_FALSE(event.has_checkpoint());
  }
  EXPECT_EQ(step, kBatches);
  EXPECT_FALSE(server_.store().GetAdapter(job.substr(5)).ok());
  EXPECT_EQ(*present.Finish(present_, kBatches, Succeeded(UploadAdapter())),
            v1::JOB_STATE_SUCCEEDED);
}

}  // namespace
}  // namespace graft
