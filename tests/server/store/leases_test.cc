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
  stale(store().CommitCheckpoint(lease, {5, {StoreFixture::File("state", '1')}}));
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
  for (int attempt = 1; attempt <= 6; ++attempt) {
    const auto claim = fixture_.ClaimNext(kWorker);
    ASSERT_OK(claim);
    EXPECT_EQ(claim->attempt, attempt);
    if (attempt == 1) {
      ASSERT_OK(store().CommitCheckpoint(fixture_.LeaseOf(*claim, kWorker),
                                         {1, {StoreFixture::File("state", '7')}}));
    }
    fixture_.clock().Advance(absl::Seconds(60));
    ASSERT_THAT(Expire(), SizeIs(1));
    if (attempt == 6) break;
    delays.push_back(store().NextRetry() - fixture_.clock().Boottime());
    fixture_.clock().Advance(delays.back());
  }
  EXPECT_THAT(delays, ElementsAre(absl::Seconds(1), absl::Seconds(2), absl::Seconds(4),
                                  absl::Seconds(8), absl::Seconds(16)));
  const v1::Job job = fixture_.Get("jobs/j1");
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_TRUE(*store().IsBlobReferenced(std::string(64, '7'))) << "its checkpoint, for a retry";
  EXPECT_EQ(job.failure_class(), v1::FAILURE_CLASS_INFRASTRUCTURE);
  EXPECT_EQ(job.state_reason(),
            "lease of worker w-1 expired; not tried again: failure 5 of 5 at its start, step 1, by "
            "lease expired; 6 of 20 without progress");
  EXPECT_EQ(job.error().message(), job.state_reason());
}

TEST_P(LeasesTest, KilledAtRandomDuringALongStepIsNoPoison) {
  fixture_.Submit();
  const auto fail = [&](absl::Duration after, const std::string& cause) {
    const auto claim = fixture_.ClaimNext(kWorker);
    EXPECT_OK(claim);
    const LeaseRef lease = fixture_.LeaseOf(*claim, kWorker);
    EventBatch batch = StoreFixture::Batch(1, {});
    batch.stage = v1::JOB_STAGE_TRAINING;
    batch.step = 7;
    EXPECT_OK(store().AppendEvents(lease, batch));
    fixture_.clock().Advance(after);
    auto failure = StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "engine killed");
    failure.cause = cause;
    const auto state = store().FinishAttempt(lease, 1, failure);
    EXPECT_OK(state);
    fixture_.clock().Advance(absl::Minutes(2));
    return *state;
  };
  for (const int seconds : {50, 20, 44, 9, 30, 55}) {
    EXPECT_EQ(fail(absl::Seconds(seconds), "signal 9"), v1::JOB_STATE_QUEUED);
  }
  EXPECT_THAT(fixture_.Get("jobs/j1").state_reason(),
              HasSubstr("(failure 1 of 5 at TRAINING, step 7, by signal 9; 6 of 20 without"));
  // Other causes at the same moment are not alike, either.
  for (const char* cause : {"signal 9", "signal 6", "signal 9", "signal 6"}) {
    EXPECT_EQ(fail(absl::Seconds(10), cause), v1::JOB_STATE_QUEUED);
  }
  for (int i = 2; i < 5; ++i) {
    EXPECT_EQ(fail(absl::Seconds(10 + i % 2), "signal 6"), v1::JOB_STATE_QUEUED);
  }
  EXPECT_EQ(fail(absl::Seconds(10), "signal 6"), v1::JOB_STATE_FAILED);
  EXPECT_THAT(fixture_.Get("jobs/j1").error().message(),
              HasSubstr("failure 5 of 5 at TRAINING, step 7, by signal 6; 14 of 20"));
}

TEST_P(LeasesTest, TwentyFailuresWithoutProgressAreTooMany) {
  fixture_.Submit();
  for (int attempt = 1; attempt <= 20; ++attempt) {
    const auto claim = fixture_.ClaimNext(kWorker);
    ASSERT_OK(claim);
    fixture_.clock().Advance(absl::Seconds(3 * (attempt % 5)));
    const auto state =
        store().FinishAttempt(fixture_.LeaseOf(*claim, kWorker), 0,
                              StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "killed"));
    ASSERT_OK(state);
    EXPECT_EQ(*state, attempt < 20 ? v1::JOB_STATE_QUEUED : v1::JOB_STATE_FAILED);
    fixture_.clock().Advance(absl::Minutes(2));
  }
  EXPECT_THAT(fixture_.Get("jobs/j1").error().message(),
              HasSubstr("by INTERNAL; 20 of 20 without progress"));
}

TEST_P(LeasesTest, RowsThatNoEvaluationHadDoneBeforeAreProgress) {
  fixture_.Submit();
  const auto fail_after = [&](int64_t rows) {
    const auto claim = fixture_.ClaimNext(kWorker);
    EXPECT_OK(claim);
    const LeaseRef lease = fixture_.LeaseOf(*claim, kWorker);
    EventBatch batch = StoreFixture::Batch(1, {});
    batch.stage = v1::JOB_STAGE_EVALUATING;
    batch.step = 10;
    batch.stage_done = rows;
    EXPECT_OK(store().AppendEvents(lease, batch));
    const auto state = store().FinishAttempt(
        lease, 1, StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "killed"));
    EXPECT_OK(state);
    fixture_.clock().Advance(absl::Minutes(2));
    return *state;
  };
  for (int64_t rows = 1; rows <= 30; ++rows) {
    EXPECT_EQ(fail_after(rows), v1::JOB_STATE_QUEUED);
  }
  for (int i = 2; i < 5; ++i) EXPECT_EQ(fail_after(30), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(fail_after(30), v1::JOB_STATE_FAILED);
  EXPECT_THAT(fixture_.Get("jobs/j1").error().message(),
              HasSubstr("at EVALUATING, step 10, 30 rows done, by INTERNAL"));
}

TEST_P(LeasesTest, ForgivenFailuresDoNotCount) {
  fixture_.Submit();
  for (int attempt = 1; attempt <= 8; ++attempt) {
    const auto claim = fixture_.ClaimNext(kWorker);
    ASSERT_OK(claim);
    EXPECT_EQ(
        *store().FinishAttempt(fixture_.LeaseOf(*claim, kWorker), 0,
                               StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "killed")),
        v1::JOB_STATE_QUEUED);
    if (attempt == 4) {
      ASSERT_OK(store().ForgiveFailures("jobs/j1", 4));
    }
    fixture_.clock().Advance(absl::Minutes(2));
  }
  EXPECT_THAT(fixture_.Get("jobs/j1").state_reason(), HasSubstr("failure 4 of 5"));
  EXPECT_TRUE(absl::IsNotFound(store().ForgiveFailures("jobs/none", 1)));
}

TEST_P(LeasesTest, AHandBackCountsNothingAndWaits) {
  fixture_.Submit();
  for (int attempt = 1; attempt <= 30; ++attempt) {
    const auto claim = fixture_.ClaimNext(kWorker);
    ASSERT_OK(claim);
    AttemptReturned returned;
    returned.reason.set_message("its disk is full");
    const LeaseRef lease = fixture_.LeaseOf(*claim, kWorker);
    EXPECT_EQ(*store().FinishAttempt(lease, 0, returned), v1::JOB_STATE_QUEUED);
    EXPECT_EQ(*store().FinishAttempt(lease, 0, returned), v1::JOB_STATE_QUEUED);
    EXPECT_EQ(store().NextRetry() - fixture_.clock().Boottime(), absl::Seconds(10));
    fixture_.clock().Advance(absl::Seconds(10));
  }
  const v1::Job job = fixture_.Get("jobs/j1");
  EXPECT_EQ(job.state_reason(), "handed back by worker w-1: its disk is full; begins again");
  EXPECT_EQ(job.attempts(3).error().message(), "its disk is full");
  const auto claim = fixture_.ClaimNext(kWorker);
  ASSERT_OK(store().CancelJob("jobs/j1", {}));
  EXPECT_EQ(*store().FinishAttempt(fixture_.LeaseOf(*claim, kWorker), 0, AttemptReturned{}),
            v1::JOB_STATE_CANCELLED);
}

TEST_P(LeasesTest, AServerThatCannotGiveAJobOutTriesAgainForAWhile) {
  fixture_.Submit();
  AttemptReturned returned;
  returned.reason.set_message("too many open files");
  returned.by_server = true;
  v1::JobState state = v1::JOB_STATE_QUEUED;
  absl::Duration waited;
  int attempts = 0;
  while (state == v1::JOB_STATE_QUEUED && attempts < 30) {
    const auto claim = fixture_.ClaimNext(kWorker);
    ASSERT_OK(claim);
    state = *store().FinishAttempt(fixture_.LeaseOf(*claim, kWorker), 0, returned);
    ++attempts;
    if (state != v1::JOB_STATE_QUEUED) break;
    EXPECT_THAT(fixture_.Get("jobs/j1").state_reason(),
                HasSubstr(absl::StrCat("the server could not give it out: too many open files; ",
                                       "failure ", attempts, " of 20 without progress")));
    const absl::Duration pause = store().NextRetry() - fixture_.clock().Boottime();
    EXPECT_GE(pause, absl::Seconds(10));
    waited += pause;
    fixture_.clock().Advance(pause);
  }
  EXPECT_EQ(state, v1::JOB_STATE_FAILED);
  EXPECT_EQ(attempts, 20);
  EXPECT_GT(waited, absl::Minutes(10));
  EXPECT_EQ(store().NextRetry(), absl::InfiniteDuration()) << "a job that is done waits for none";
  EXPECT_THAT(fixture_.Get("jobs/j1").error().message(), HasSubstr("too many open files"));
}

TEST_P(LeasesTest, TheWholeQueueIsReadInItsOrderThoseInABackOffToo) {
  for (const int priority : {0, 5, 0, 5}) fixture_.Submit(priority);
  const auto claim = fixture_.ClaimNext(kWorker);
  ASSERT_OK(claim);
  ASSERT_OK(
      store().FinishAttempt(fixture_.LeaseOf(*claim, kWorker), 0,
                            StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "no engine")));
  const auto names = [](const QueuePart& part) {
    std::vector<std::string> all;
    for (const WaitingJob& job : part.jobs) all.push_back(job.queued.name);
    return all;
  };
  const auto whole = store().ReadQueue(std::nullopt, 10);
  ASSERT_OK(whole);
  EXPECT_THAT(names(*whole), ElementsAre("jobs/j2", "jobs/j4", "jobs/j1", "jobs/j3"));
  EXPECT_EQ(whole->total, 4);
  EXPECT_EQ(whole->before, 0);
  EXPECT_EQ(whole->jobs[0].queued.not_before - fixture_.clock().Boottime(), absl::Seconds(1));
  EXPECT_EQ(whole->jobs[0].job.method(), "lora");
  const QueuedJob& second = whole->jobs[1].queued;
  const auto rest = store().ReadQueue(QueuePlace{second.priority, second.number}, 1);
  ASSERT_OK(rest);
  EXPECT_THAT(names(*rest), ElementsAre("jobs/j1"));
  EXPECT_EQ(rest->before, 2);
  EXPECT_EQ(rest->total, 4);
}

TEST_P(LeasesTest, ClaimsAskForWhatJobsNeed) {
  const auto names = [&](const NeedsFilter& filter, int limit = 10) {
    std::vector<std::string> all;
    const auto queued = store().QueuedJobs(limit, filter);
    EXPECT_OK(queued);
    for (const QueuedJob& job : *queued) all.push_back(job.name);
    return all;
  };
  NewJob bf16 = StoreFixture::LoraJob(1);
  bf16.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_training()->set_precision(
      v1::PRECISION_BF16);
  ASSERT_OK(store().InsertJob(bf16));
  fixture_.Submit();
  fixture_.Submit();
  EXPECT_EQ(fixture_.Needs("jobs/j1").precision, "bf16");
  EXPECT_EQ(fixture_.Needs("jobs/j2"), JobNeeds());
  // The second job began on a GPU.
  const auto second = store().QueuedJobs(2);
  const auto claim = store().ClaimJob({"jobs/j2", (*second)[1].version, kWorker, ""});
  ASSERT_OK(claim);
  NewCheckpoint checkpoint = {3, {StoreFixture::File("state", '1')}, {}};
  checkpoint.execution.set_device("NVIDIA H200");
  checkpoint.execution.set_precision("bf16");
  checkpoint.execution.set_libtorch("2.11.0");
  ASSERT_OK(store().CommitCheckpoint(fixture_.LeaseOf(*claim, kWorker), checkpoint));
  fixture_.clock().Advance(absl::Seconds(60));
  ASSERT_THAT(Expire(), SizeIs(1));
  fixture_.clock().Advance(absl::Seconds(1));
  if (GetParam() == StoreKind::kSqlite) fixture_.Reopen();
  EXPECT_EQ(fixture_.Needs("jobs/j2"), (JobNeeds{"NVIDIA H200", "", "bf16"}));
  EXPECT_THAT(names(nullptr), ElementsAre("jobs/j1", "jobs/j2", "jobs/j3"));
  EXPECT_THAT(names([](const JobNeeds&) { return true; }, 2), ElementsAre("jobs/j1", "jobs/j2"));
  EXPECT_THAT(names([](const JobNeeds& needs) { return needs.device.empty(); }),
              ElementsAre("jobs/j1", "jobs/j3"));
  EXPECT_THAT(names([](const JobNeeds& needs) { return needs.precision.empty(); }),
              ElementsAre("jobs/j3"));
  EXPECT_THAT(names([](const JobNeeds& needs) { return needs.precision == "bf16"; }, 1),
              ElementsAre("jobs/j1"));
}

TEST_P(LeasesTest, NewerCheckpointResetsTheCountOfFailures) {
  fixture_.Submit();
  for (int attempt = 1; attempt <= 12; ++attempt) {
    const auto claim = fixture_.ClaimNext(kWorker);
    ASSERT_OK(claim);
    ASSERT_OK(store().CommitCheckpoint(fixture_.LeaseOf(*claim, kWorker),
                                       {attempt, {StoreFixture::File("state", '1')}}));
    fixture_.clock().Advance(absl::Seconds(60));
    ASSERT_THAT(Expire(), SizeIs(1));
    EXPECT_EQ(fixture_.Get("jobs/j1").state(), v1::JOB_STATE_QUEUED);
    EXPECT_EQ(store().NextRetry() - fixture_.clock().Boottime(), absl::Seconds(1));
    fixture_.clock().Advance(absl::Seconds(1));
  }
}

TEST_P(LeasesTest, LostWorkerOfACancellingJobCancelsIt) {
  const LeaseRef lease = fixture_.Start(kWorker);
  ASSERT_OK(store().CommitCheckpoint(lease, {1, {StoreFixture::File("state", '7')}}));
  ASSERT_OK(store().CancelJob(lease.job, {}));
  EXPECT_TRUE(*store().IsBlobReferenced(std::string(64, '7')));
  fixture_.clock().Advance(absl::Seconds(60));
  EXPECT_THAT(Expire(), ElementsAre("jobs/j1"));
  EXPECT_EQ(fixture_.Get(lease.job).state(), v1::JOB_STATE_CANCELLED);
}

TEST_P(LeasesTest, AMethodThatWorkersMustKnowStaysWhatTheJobNeeds) {
  NewJob dora = StoreFixture::LoraJob();
  v1::FineTuneSpec& spec = *dora.job.mutable_resolved_spec()->mutable_fine_tune();
  spec.mutable_method()->mutable_lora()->set_use_dora(true);
  ASSERT_OK(store().InsertJob(dora));
  EXPECT_EQ(fixture_.Needs("jobs/j1"), (JobNeeds{"", "", "", "dora"}));
  const auto claim = fixture_.ClaimNext(kWorker);
  ASSERT_OK(claim);
  NewCheckpoint checkpoint = {3, {StoreFixture::File("state", '1')}, {}};
  checkpoint.execution.set_device("cpu");
  checkpoint.execution.set_cpu_capability("AVX2");
  checkpoint.execution.set_precision("fp32");
  ASSERT_OK(store().CommitCheckpoint(fixture_.LeaseOf(*claim, kWorker), checkpoint));
  if (GetParam() == StoreKind::kSqlite) fixture_.Reopen();
  EXPECT_EQ(fixture_.Needs("jobs/j1"), (JobNeeds{"cpu", "AVX2", "fp32", "dora"}));
}

TEST_P(LeasesTest, AWorkerMustKnowEvaluationsOfSeveralAdapters) {
  NewJob job;
  v1::EvaluateSpec& spec = *job.job.mutable_resolved_spec()->mutable_evaluate();
  spec.set_base_model("gpt2");
  spec.set_base_model_sha256(std::string(64, 'a'));
  for (const char* name : {"one", "two"}) {
    ASSERT_OK(store().InsertAdapter(StoreFixture::NewAdapter(name)));
    spec.add_adapters(name);
    spec.add_adapters_sha256(std::string(64, 'd'));
  }
  *job.job.mutable_spec() = job.job.resolved_spec();
  ASSERT_OK(store().InsertJob(job));
  EXPECT_EQ(fixture_.Needs("jobs/j1"), (JobNeeds{"", "", "", "several_adapters"}));
  // It holds each of them.
  EXPECT_TRUE(absl::IsFailedPrecondition(store().DeleteAdapter("two")));
}

TEST_P(LeasesTest, CancelOfAWaitingRetryEndsIt) {
  const LeaseRef lease = fixture_.Start(kWorker);
  ASSERT_OK(store().CommitCheckpoint(lease, {1, {StoreFixture::File("state", '7')}}));
  fixture_.clock().Advance(absl::Seconds(60));
  Expire();
  EXPECT_TRUE(*store().IsBlobReferenced(std::string(64, '7')));
  ASSERT_OK(store().CancelJob("jobs/j1", {}));
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
