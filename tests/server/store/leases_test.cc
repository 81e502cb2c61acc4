#include <atomic>
#include <thread>

#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class LeasesTest : public StoreTest {
 protected:
  bool Renew(const LeaseRef& lease) {
    const auto renewals = store().RenewLeases(lease.worker, {{lease.job, lease.lease_epoch}});
    EXPECT_OK(renewals);
    return renewals.ok() && (*renewals)[0].held;
  }
  std::vector<std::string> Expire() {
    const auto expired = store().ExpireLeases();
    EXPECT_OK(expired);
    return expired.ok() ? *expired : std::vector<std::string>();
  }
};
INSTANTIATE_ON_EVERY_STORE(LeasesTest);

TEST_P(LeasesTest, ClaimBeginsAnAttemptUnderANewLeaseEpoch) {
  fixture_.Submit();
  const auto claim = fixture_.ClaimNext(kWorker, "r1");
  ASSERT_OK(claim);
  EXPECT_EQ(claim->attempt, 1);
  EXPECT_EQ(claim->lease_epoch, 1);
  EXPECT_THAT(claim->checkpoint, IsEmpty());
  EXPECT_EQ(claim->job.resolved_spec().fine_tune().method().lora().rank(), 8);
  const v1::Job job = fixture_.Get("jobs/j1");
  EXPECT_EQ(job.state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(job.attempt(), 1);
  EXPECT_EQ(job.queue_position(), 0);
  ASSERT_EQ(job.attempts_size(), 1);
  EXPECT_EQ(job.attempts(0).worker(), "w-1");
  EXPECT_TRUE(job.attempts(0).has_start_time());
  EXPECT_FALSE(job.attempts(0).has_end_time());
  const auto events = fixture_.Events("jobs/j1");
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_EQ(events[1].attempt(), 1);
  EXPECT_EQ(events[1].state_change().to(), v1::JOB_STATE_RUNNING);
}

TEST_P(LeasesTest, OnlyOneOfManyClaimsWins) {
  fixture_.Submit();
  const auto queued = store().QueuedJobs(1);
  ASSERT_OK(queued);
  std::atomic<int> won = 0, lost = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const auto claim = store().ClaimJob(
          {(*queued)[0].name, (*queued)[0].version, {absl::StrCat("w-", i), "i"}, ""});
      if (claim.ok()) ++won;
      if (ReasonOf(claim.status()) == kReasonVersionChanged) ++lost;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(won, 1);
  EXPECT_EQ(lost, 7);
  EXPECT_THAT(fixture_.Events("jobs/j1"), SizeIs(2));
}

TEST_P(LeasesTest, SameRequestFindsItsClaimWhileTheLeaseLasts) {
  fixture_.Submit();
  fixture_.Submit();
  const auto claim = fixture_.ClaimNext(kWorker, "r1");
  ASSERT_OK(claim);
  const auto again = fixture_.ClaimNext(kWorker, "r1");
  ASSERT_OK(again);
  EXPECT_EQ(again->job.name(), claim->job.name());
  EXPECT_EQ(again->lease_epoch, claim->lease_epoch);
  EXPECT_EQ(store().FindClaim(kWorker, "r1")->job.name(), "jobs/j1");
  EXPECT_TRUE(absl::IsNotFound(store().FindClaim(kWorker, "r2").status()));
  // Whoever is told of the claim again counts a whole lease from then on.
  fixture_.clock().Advance(absl::Seconds(50));
  ASSERT_OK(store().FindClaim(kWorker, "r1"));
  fixture_.clock().Advance(absl::Seconds(50));
  EXPECT_THAT(Expire(), IsEmpty());
  EXPECT_TRUE(absl::IsNotFound(store().FindClaim(kOtherWorker, "r1").status()));
  EXPECT_TRUE(absl::IsNotFound(store().FindClaim({"w-1", "i-9"}, "r1").status()));
  ASSERT_OK(store().FinishAttempt(fixture_.LeaseOf(*claim, kWorker), 0, AttemptCancelled{}));
  EXPECT_TRUE(absl::IsNotFound(store().FindClaim(kWorker, "r1").status()));
}

TEST_P(LeasesTest, TheJobTellsHowLongItsWorkerHasBeenSilent) {
  fixture_.Submit();
  fixture_.clock().Advance(absl::Seconds(7));
  EXPECT_EQ(fixture_.Get("jobs/j1").worker_silent_seconds(), 0);  // Nobody's.
  const auto claim = fixture_.ClaimNext(kWorker);
  ASSERT_OK(claim);
  EXPECT_EQ(fixture_.Get("jobs/j1").worker_silent_seconds(), 0);
  fixture_.clock().Advance(absl::Seconds(40));
  EXPECT_EQ(fixture_.Get("jobs/j1").worker_silent_seconds(), 40);
  EXPECT_TRUE(Renew(fixture_.LeaseOf(*claim, kWorker)));
  fixture_.clock().Advance(absl::Seconds(2));
  EXPECT_EQ(fixture_.Get("jobs/j1").worker_silent_seconds(), 2);
  fixture_.clock().Advance(absl::Seconds(58));
  EXPECT_THAT(Expire(), ElementsAre("jobs/j1"));
  EXPECT_EQ(fixture_.Get("jobs/j1").worker_silent_seconds(), 0);
}

TEST_P(LeasesTest, ExpiredLeaseRequeuesJobAndStalesItsWorker) {
  const LeaseRef lease = fixture_.Start(kWorker);
  fixture_.clock().Advance(absl::Seconds(59));
  EXPECT_THAT(Expire(), IsEmpty());
  EXPECT_TRUE(Renew(lease));
  fixture_.clock().Advance(absl::Seconds(59));
  EXPECT_THAT(Expire(), IsEmpty());
  fixture_.clock().Advance(absl::Seconds(1));
  EXPECT_THAT(Expire(), ElementsAre("jobs/j1"));
  const v1::Job job = fixture_.Get("jobs/j1");
  EXPECT_EQ(job.state(), v1::JOB_STATE_QUEUED);
  EXPECT_THAT(job.state_reason(), HasSubstr("lease of worker w-1 expired; begins again"));
  EXPECT_THAT(job.attempts(0).error().message(), HasSubstr("expired"));
  EXPECT_EQ(fixture_.Events("jobs/j1").back().state_change().failure_class(),
            v1::FAILURE_CLASS_INFRASTRUCTURE);

  EXPECT_FALSE(Renew(lease));
  const auto stale = [](const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(ReasonOf(status), kReasonStaleLease);
  };
  stale(store().AppendEvents(lease, StoreFixture::Batch(1, {})).status());
  stale(store().CommitCheckpoint(lease, 5, {StoreFixture::File("state", '1')}));
  stale(store().FinishAttempt(lease, 0, StoreFixture::Success()).status());

  EXPECT_THAT(*store().QueuedJobs(10), IsEmpty());  // Backs off.
  EXPECT_EQ(store().NextRetry() - fixture_.clock().Boottime(), absl::Seconds(1));
  fixture_.clock().Advance(absl::Seconds(1));
  const auto second = fixture_.ClaimNext(kOtherWorker);
  ASSERT_OK(second);
  EXPECT_EQ(second->attempt, 2);
  // One for the expiry, one for the claim.
  EXPECT_EQ(second->lease_epoch, lease.lease_epoch + 2);
  stale(store().AppendEvents(lease, StoreFixture::Batch(1, {})).status());
}

TEST_P(LeasesTest, LeaseBelongsToOneWorkerAndItsInstance) {
  const LeaseRef lease = fixture_.Start(kWorker);
  for (const LeaseRef& wrong :
       {LeaseRef{lease.job, lease.lease_epoch, kOtherWorker},
        LeaseRef{lease.job, lease.lease_epoch, {"w-1", "i-9"}},
        LeaseRef{lease.job, lease.lease_epoch + 1, kWorker},
        LeaseRef{lease.job, lease.lease_epoch - 1, kWorker}, LeaseRef{"jobs/none", 1, kWorker}}) {
    EXPECT_FALSE(Renew(wrong));
    EXPECT_EQ(ReasonOf(store().AppendEvents(wrong, StoreFixture::Batch(1, {})).status()),
              kReasonStaleLease);
  }
  EXPECT_TRUE(Renew(lease));
}

TEST_P(LeasesTest, RestartedWorkerLosesItsOldLeasesAtOnce) {
  const LeaseRef lease = fixture_.Start(kWorker);
  EXPECT_THAT(*store().ReleaseOtherInstances(kWorker), IsEmpty());
  EXPECT_THAT(*store().ReleaseOtherInstances(kOtherWorker), IsEmpty());
  EXPECT_TRUE(Renew(lease));
  EXPECT_THAT(*store().ReleaseOtherInstances({"w-1", "i-9"}), ElementsAre("jobs/j1"));
  EXPECT_FALSE(Renew(lease));
  EXPECT_THAT(fixture_.Get("jobs/j1").state_reason(), HasSubstr("was restarted"));
}

TEST_P(LeasesTest, AttemptsWithoutProgressBackOffAndEndInFailure) {
  fixture_.Submit();
  std::vector<absl::Duration> delays;
  for (int attempt = 1; attempt <= 5; ++attempt) {
    const auto claim = fixture_.ClaimNext(kWorker);
    ASSERT_OK(claim);
    EXPECT_EQ(claim->attempt, attempt);
    if (attempt == 1) {
      ASSERT_OK(store().CommitCheckpoint(fixture_.LeaseOf(*claim, kWorker), 1,
                                         {StoreFixture::File("state", '7')}));
    }
    fixture_.clock().Advance(absl::Seconds(60));
    ASSERT_THAT(Expire(), SizeIs(1));
    if (attempt == 5) break;
    delays.push_back(store().NextRetry() - fixture_.clock().Boottime());
    fixture_.clock().Advance(delays.back());
  }
  EXPECT_THAT(delays,
              ElementsAre(absl::Seconds(1), absl::Seconds(2), absl::Seconds(4), absl::Seconds(8)));
  const v1::Job job = fixture_.Get("jobs/j1");
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_FALSE(*store().IsBlobReferenced(std::string(64, '7'))) << "its checkpoint";
  EXPECT_EQ(job.failure_class(), v1::FAILURE_CLASS_INFRASTRUCTURE);
  EXPECT_THAT(job.state_reason(), HasSubstr("5 attempts in a row"));
  EXPECT_THAT(job.error().message(), HasSubstr("expired"));
}

TEST_P(LeasesTest, NewerCheckpointResetsTheCountOfFailures) {
  fixture_.Submit();
  for (int attempt = 1; attempt <= 12; ++attempt) {
    const auto claim = fixture_.ClaimNext(kWorker);
    ASSERT_OK(claim);
    ASSERT_OK(store().CommitCheckpoint(fixture_.LeaseOf(*claim, kWorker), attempt,
                                       {StoreFixture::File("state", '1')}));
    fixture_.clock().Advance(absl::Seconds(60));
    ASSERT_THAT(Expire(), SizeIs(1));
    EXPECT_EQ(fixture_.Get("jobs/j1").state(), v1::JOB_STATE_QUEUED);
    EXPECT_EQ(store().NextRetry() - fixture_.clock().Boottime(), absl::Seconds(1));
    fixture_.clock().Advance(absl::Seconds(1));
  }
}

TEST_P(LeasesTest, LostWorkerOfACancellingJobCancelsIt) {
  const LeaseRef lease = fixture_.Start(kWorker);
  ASSERT_OK(store().CommitCheckpoint(lease, 1, {StoreFixture::File("state", '7')}));
  ASSERT_OK(store().CancelJob(lease.job, {}));
  EXPECT_TRUE(*store().IsBlobReferenced(std::string(64, '7')));
  fixture_.clock().Advance(absl::Seconds(60));
  EXPECT_THAT(Expire(), ElementsAre("jobs/j1"));
  EXPECT_EQ(fixture_.Get(lease.job).state(), v1::JOB_STATE_CANCELLED);
  EXPECT_FALSE(*store().IsBlobReferenced(std::string(64, '7')));
}

TEST_P(LeasesTest, CancelOfAWaitingRetryEndsIt) {
  const LeaseRef lease = fixture_.Start(kWorker);
  ASSERT_OK(store().CommitCheckpoint(lease, 1, {StoreFixture::File("state", '7')}));
  fixture_.clock().Advance(absl::Seconds(60));
  Expire();
  EXPECT_TRUE(*store().IsBlobReferenced(std::string(64, '7')));
  ASSERT_OK(store().CancelJob("jobs/j1", {}));
  EXPECT_FALSE(*store().IsBlobReferenced(std::string(64, '7')));
  EXPECT_EQ(store().NextRetry(), absl::InfiniteDuration());
  fixture_.clock().Advance(absl::Hours(1));
  EXPECT_THAT(*store().QueuedJobs(10), IsEmpty());
}

TEST_P(LeasesTest, NextExpiryIsThatOfTheOldestRenewal) {
  EXPECT_EQ(*store().NextExpiry(), absl::InfiniteDuration());
  const LeaseRef first = fixture_.Start(kWorker);
  fixture_.clock().Advance(absl::Seconds(10));
  fixture_.Start(kOtherWorker);
  EXPECT_EQ(*store().NextExpiry() - fixture_.clock().Boottime(), absl::Seconds(50));
  EXPECT_TRUE(Renew(first));
  EXPECT_EQ(*store().NextExpiry() - fixture_.clock().Boottime(), absl::Seconds(60));
}

TEST_P(LeasesTest, RetriesThatWaitDoNotHideJobsBehindThem) {
  // More waiting jobs of high priority than one page of the queue holds.
  constexpr int kWaiting = 20;
  for (int i = 0; i < kWaiting; ++i) fixture_.Submit(10);
  for (int i = 0; i < kWaiting; ++i) ASSERT_OK(fixture_.ClaimNext(kWorker));
  fixture_.clock().Advance(absl::Seconds(60));
  ASSERT_THAT(Expire(), SizeIs(kWaiting));
  fixture_.Submit(0);
  const auto queued = store().QueuedJobs(3);
  ASSERT_OK(queued);
  ASSERT_THAT(*queued, SizeIs(1));
  EXPECT_EQ((*queued)[0].name, absl::StrCat("jobs/j", kWaiting + 1));
}

}  // namespace
}  // namespace graft
