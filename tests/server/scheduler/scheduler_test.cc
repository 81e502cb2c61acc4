#include "server/scheduler/scheduler.h"

#include <atomic>
#include <set>
#include <thread>

#include "common/jobs/timestamps.h"
#include "server/scheduler/scheduler_loop.h"
#include "tests/server/store/changes_heard.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class SchedulerTest : public ::testing::Test {
 protected:
  JobStore& store() { return fixture_.store(); }
  std::string Lease(const WorkerRef& worker, const std::string& request_id = "",
                    const std::optional<Abilities>& abilities = std::nullopt) {
    const auto claim = scheduler_.LeaseJob(worker, request_id, abilities);
    EXPECT_OK(claim);
    return claim.ok() && *claim ? (*claim)->job.name() : "";
  }
  Upkeep Tick() {
    const Upkeep upkeep = scheduler_.Tick();
    EXPECT_OK(upkeep.status);
    return upkeep;
  }
  absl::Duration Until(absl::Duration moment) { return moment - fixture_.clock().Boottime(); }

  StoreFixture fixture_{StoreKind::kMemory};
  Scheduler scheduler_{fixture_.store(), fixture_.clock()};
};

QueuedJob Queued(const std::string& name, int priority, int64_t number,
                 absl::Duration not_before = absl::ZeroDuration()) {
  QueuedJob job;
  job.name = name;
  job.priority = priority;
  job.number = number;
  job.not_before = not_before;
  return job;
}

TEST_F(SchedulerTest, RankIsPriorityThenSubmissionWithoutWhatMustWait) {
  const auto ranked =
      RankQueue({Queued("a", 0, 4), Queued("b", 1, 5), Queued("c", 0, 3), Queued("d", 1, 6),
                 Queued("e", 9, 1, absl::Seconds(11)), Queued("f", 8, 2, absl::Seconds(10))},
                absl::Seconds(10));
  std::vector<std::string> names;
  for (const QueuedJob& job : ranked) names.push_back(job.name);
  EXPECT_THAT(names, ElementsAre("f", "b", "d", "c", "a"));
}

TEST_F(SchedulerTest, TenJobsRunInTheOrderOfPriorityAndSubmission) {
  for (const int priority : {0, 3, 1, 0, 3, 2, 1, 0, 2, 3}) fixture_.Submit(priority);
  std::vector<std::string> order;
  for (int i = 0; i < 10; ++i) order.push_back(Lease(i % 2 == 0 ? kWorker : kOtherWorker));
  EXPECT_THAT(order, ElementsAre("jobs/j2", "jobs/j5", "jobs/j10", "jobs/j6", "jobs/j9", "jobs/j3",
                                 "jobs/j7", "jobs/j1", "jobs/j4", "jobs/j8"));
  EXPECT_EQ(Lease(kWorker), "");
}

TEST_F(SchedulerTest, RepeatedRequestGetsTheSameLease) {
  fixture_.Submit();
  fixture_.Submit();
  EXPECT_EQ(Lease(kWorker, "r1"), "jobs/j1");
  EXPECT_EQ(Lease(kWorker, "r1"), "jobs/j1");
  EXPECT_EQ(Lease(kOtherWorker, "r1"), "jobs/j2");
}

TEST_F(SchedulerTest, ExpiredLeaseIsRetriedAfterItsBackOff) {
  fixture_.Submit();
  ASSERT_EQ(Lease(kWorker), "jobs/j1");
  EXPECT_EQ(Until(Tick().next), absl::Seconds(60));
  fixture_.clock().Advance(absl::Seconds(59));
  EXPECT_THAT(Tick().expired, IsEmpty());
  fixture_.clock().Advance(absl::Seconds(1));
  const Upkeep upkeep = Tick();
  EXPECT_THAT(upkeep.expired, ElementsAre("jobs/j1"));
  EXPECT_FALSE(upkeep.work_available);
  EXPECT_EQ(Until(upkeep.next), absl::Seconds(1));
  EXPECT_EQ(Lease(kOtherWorker), "");
  fixture_.clock().Advance(absl::Seconds(1));
  EXPECT_TRUE(Tick().work_available);
  EXPECT_EQ(Lease(kOtherWorker), "jobs/j1");
}

TEST_F(SchedulerTest, IdleSchedulerOnlyWaitsToForgetOldAnswers) {
  const Upkeep upkeep = Tick();
  EXPECT_THAT(upkeep.expired, IsEmpty());
  EXPECT_FALSE(upkeep.work_available);
  EXPECT_EQ(Until(upkeep.next), absl::Hours(1));
}

TEST(SchedulerPurgeTest, WhatADeletedJobLeftGoesSomeAtATick) {
  StoreFixture fixture(StoreKind::kSqlite, FastDirectory());
  Scheduler scheduler(fixture.store(), fixture.clock());
  ChangesHeard changes(fixture.store());
  EXPECT_OK(scheduler.Tick().status);
  const LeaseRef lease = fixture.Start(kWorker);
  for (int batch = 1; batch <= 5; ++batch) {
    std::vector<v1::JobEvent> events;
    for (int i = 0; i < 1000; ++i) {
      events.push_back(StoreFixture::LossEvent(batch * 1000 + i, 1));
    }
    ASSERT_OK(fixture.store().AppendEvents(lease, StoreFixture::Batch(batch, events)));
  }
  ASSERT_OK(fixture.store().CancelJob(lease.job, {}));
  ASSERT_OK(fixture.store().FinishAttempt(lease, 5, AttemptCancelled{}));
  ASSERT_OK(fixture.store().DeleteJob(lease.job, false, {}));
  changes.WaitForAll();
  int ticks = 1;
  for (; scheduler.Tick().next == fixture.clock().Boottime(); ++ticks) ASSERT_LT(ticks, 100);
  EXPECT_GT(ticks, 3);
  EXPECT_FALSE(*fixture.store().PurgeDeleted());
}

TEST_F(SchedulerTest, ManyWorkersNeverShareAJob) {
  constexpr int kJobs = 200;
  for (int i = 0; i < kJobs; ++i) fixture_.Submit(i % 3);
  Mutex mutex;
  std::multiset<std::string> leased;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const WorkerRef worker = {absl::StrCat("w-", t), "i"};
      for (std::string job = Lease(worker); !job.empty(); job = Lease(worker)) {
        MutexLock lock(mutex);
        leased.insert(job);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::set<std::string>(leased.begin(), leased.end()).size(), size_t{kJobs});
  EXPECT_THAT(leased, SizeIs(kJobs));
}

TEST_F(SchedulerTest, ADeadlineEndsAJobAndIsLookedForEachMinute) {
  NewJob job = StoreFixture::LoraJob();
  *job.job.mutable_deadline() = ToTimestamp(fixture_.clock().Now() + absl::Seconds(90));
  ASSERT_OK(store().InsertJob(job));
  EXPECT_EQ(Until(Tick().next), absl::Minutes(1)) << "somebody may set the date";
  fixture_.clock().Advance(absl::Minutes(1));
  EXPECT_EQ(Until(Tick().next), absl::Seconds(30));
  fixture_.clock().Advance(absl::Seconds(30));
  EXPECT_GT(Until(Tick().next), absl::Minutes(1)) << "there is none any more";
  EXPECT_EQ(fixture_.Get("jobs/j1").failure_class(), v1::FAILURE_CLASS_DEADLINE);
}

// A server with --preemption and two workers that have one slot each.
class PreemptionTest : public SchedulerTest {
 protected:
  PreemptionTest() {
    preempting_.SetPresentWorkers([this] { return present_; });
  }
  void Run(const WorkerRef& worker) {
    const auto claim = preempting_.LeaseJob(worker, "", std::nullopt);
    ASSERT_OK(claim);
    ASSERT_TRUE(*claim);
    leases_.push_back(fixture_.LeaseOf(**claim, worker));
  }
  std::vector<std::string> MakeWay() {
    const Upkeep upkeep = preempting_.Tick();
    EXPECT_OK(upkeep.status);
    next_ = upkeep.next;
    std::vector<std::string> names;
    for (const HeldJobView& job : upkeep.preempted) names.push_back(job.name);
    return names;
  }
  // With one worker: j1 makes way for j2.
  void FirstMakesWayForSecond() {
    present_ = {{kWorker.id, 1, 1}};
    fixture_.Submit(0);
    Run(kWorker);
    fixture_.Submit(5);
    ASSERT_THAT(MakeWay(), ElementsAre("jobs/j1"));
  }
  bool ToldToPause(const LeaseRef& lease) {
    return (*store().RenewLeases(lease.worker, {{lease.job, lease.lease_epoch}}))[0].pause;
  }

  Scheduler preempting_{fixture_.store(), fixture_.clock(), {.preemption = true}};
  std::vector<PresentWorker> present_ = {{kWorker.id, 1, 1}, {kOtherWorker.id, 1, 1}};
  std::vector<LeaseRef> leases_;
  absl::Duration next_;
};

TEST_F(PreemptionTest, TheYoungestOfTheLowestPriorityMakesWayAndGoesOnLater) {
  fixture_.Submit(0);
  Run(kWorker);
  fixture_.Submit(0);
  Run(kOtherWorker);
  fixture_.Submit(0);
  EXPECT_THAT(MakeWay(), IsEmpty()) << "the one that waits has no higher priority";
  fixture_.Submit(5);
  EXPECT_THAT(MakeWay(), ElementsAre("jobs/j2"));
  EXPECT_EQ(fixture_.Get("jobs/j2").preempted_by(), "jobs/j4");
  EXPECT_EQ(fixture_.Get("jobs/j2").state(), v1::JOB_STATE_RUNNING);
  EXPECT_TRUE(ToldToPause(leases_[1]));
  EXPECT_FALSE(ToldToPause(leases_[0]));
  EXPECT_THAT(MakeWay(), IsEmpty()) << "one is enough";
  ASSERT_OK(store().CommitCheckpoint(leases_[1], {7, {StoreFixture::File("state", '3')}, {}}));
  EXPECT_EQ(*store().FinishAttempt(leases_[1], 0, AttemptPaused{}), v1::JOB_STATE_QUEUED);
  const v1::Job job = fixture_.Get("jobs/j2");
  EXPECT_EQ(job.state_reason(), "PREEMPTED: made way for jobs/j4; resumes from step 7");
  EXPECT_EQ(job.preempted_by(), "");
  EXPECT_EQ(job.step(), 7);
  EXPECT_THAT(MakeWay(), IsEmpty()) << "the slot is free for it";
  EXPECT_EQ(Lease(kOtherWorker), "jobs/j4");
}

TEST_F(PreemptionTest, NobodyMakesWayForWhatAFreeWorkerTakes) {
  fixture_.Submit(0);
  Run(kWorker);
  fixture_.Submit(5);
  EXPECT_THAT(MakeWay(), IsEmpty());
  fixture_.Submit(5);
  EXPECT_THAT(MakeWay(), ElementsAre("jobs/j1")) << "one free slot is for one job";
}

TEST_F(PreemptionTest, ItComesOnceInTenMinutes) {
  FirstMakesWayForSecond();
  ASSERT_OK(store().FinishAttempt(leases_[0], 0, AttemptPaused{}));
  ASSERT_OK(store().CancelJob("jobs/j2", {}));
  Run(kWorker);
  fixture_.Submit(5);
  for (absl::Duration time; time < kPreemptionInterval; time += absl::Seconds(30)) {
    EXPECT_THAT(MakeWay(), IsEmpty());
    ASSERT_OK(store().RenewLeases(kWorker, {{leases_[1].job, leases_[1].lease_epoch}}));
    fixture_.clock().Advance(absl::Seconds(20));
    EXPECT_THAT(MakeWay(), IsEmpty());
    fixture_.clock().Advance(absl::Seconds(10));
  }
  // Nothing else would have woken it then: leases last for a minute.
  EXPECT_EQ(next_, fixture_.clock().Boottime());
  EXPECT_THAT(MakeWay(), ElementsAre("jobs/j1"));
}

TEST_F(PreemptionTest, AServerThatStartsAnewKnowsWhoMakesWay) {
  fixture_.Submit(0);
  Run(kWorker);
  fixture_.Submit(0);
  Run(kOtherWorker);
  fixture_.Submit(5);
  ASSERT_THAT(MakeWay(), ElementsAre("jobs/j2"));
  Scheduler restarted(store(), fixture_.clock(), {.preemption = true});
  restarted.SetPresentWorkers([this] { return present_; });
  EXPECT_THAT(restarted.Tick().preempted, IsEmpty()) << "one is enough";
  ASSERT_OK(store().FinishAttempt(leases_[1], 0, AttemptPaused{}));
  EXPECT_EQ(Lease(kOtherWorker), "jobs/j3");
  fixture_.Submit(6);
  std::vector<std::string> others;
  for (const HeldJobView& job : restarted.Tick().preempted) others.push_back(job.name);
  EXPECT_THAT(others, ElementsAre("jobs/j1"));
}

TEST_F(PreemptionTest, AWorkerThatIsAwayOrCannotDoTheOtherIsLeftAlone) {
  fixture_.Submit(0);
  Run(kWorker);
  NewJob needs_bf16 = StoreFixture::LoraJob(5);
  needs_bf16.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_training()->set_precision(
      v1::PRECISION_BF16);
  ASSERT_OK(store().InsertJob(needs_bf16));
  present_ = {{kWorker.id, 0, 1}};
  ASSERT_OK(preempting_.LeaseJob(kWorker, "", Abilities{{"cpu"}, {"fp32"}, "AVX2", {}}));
  EXPECT_THAT(MakeWay(), IsEmpty()) << "it does not do bf16";
  fixture_.Submit(4);
  present_.clear();
  EXPECT_THAT(MakeWay(), IsEmpty()) << "nobody could tell it";
  present_ = {{kWorker.id, 0, 1}};
  EXPECT_THAT(MakeWay(), ElementsAre("jobs/j1"));
}

TEST_F(PreemptionTest, WhatIsPausedOrCancelledMeanwhileIsThat) {
  FirstMakesWayForSecond();
  ASSERT_OK(store().PauseJob("jobs/j1", {}));
  EXPECT_EQ(fixture_.Get("jobs/j1").preempted_by(), "");
  EXPECT_EQ(*store().FinishAttempt(leases_[0], 0, AttemptPaused{}), v1::JOB_STATE_PAUSED);
  HeldJobView seen = {"jobs/j1", kWorker.id, leases_[0].lease_epoch};
  EXPECT_EQ(ReasonOf(store().PreemptJob(seen, "jobs/j2")), kReasonWrongState);
}

TEST_F(PreemptionTest, ASlotThatIsAboutToBeFreeIsEnough) {
  fixture_.Submit(0);
  Run(kWorker);
  fixture_.Submit(0);
  Run(kOtherWorker);
  ASSERT_OK(store().PauseJob("jobs/j1", {}));
  fixture_.Submit(5);
  EXPECT_THAT(MakeWay(), IsEmpty()) << "that of the job which pauses";
  ASSERT_OK(store().CancelJob("jobs/j2", {}));
  fixture_.Submit(5);
  EXPECT_THAT(MakeWay(), IsEmpty()) << "and that of the one which is cancelled";
}

TEST_F(PreemptionTest, AWorkerThatIsAwayForAMomentMakesWayAllTheSame) {
  fixture_.Submit(0);
  Run(kWorker);
  fixture_.Submit(1);
  Run(kOtherWorker);
  fixture_.Submit(5);
  ASSERT_THAT(MakeWay(), ElementsAre("jobs/j1"));
  present_ = {{kOtherWorker.id, 0, 1}};
  EXPECT_THAT(MakeWay(), IsEmpty());
}

TEST_F(PreemptionTest, AWorkerThatHeedsNoPauseIsNotWaitedForForEver) {
  fixture_.Submit(0);
  Run(kWorker);
  fixture_.Submit(1);
  Run(kOtherWorker);
  fixture_.Submit(5);
  ASSERT_THAT(MakeWay(), ElementsAre("jobs/j1"));
  for (absl::Duration time; time < kPreemptionInterval; time += absl::Seconds(30)) {
    fixture_.clock().Advance(absl::Seconds(30));
    for (const LeaseRef& lease : leases_) {
      ASSERT_OK(store().RenewLeases(lease.worker, {{lease.job, lease.lease_epoch}}));
    }
  }
  EXPECT_THAT(MakeWay(), ElementsAre("jobs/j2"));
}

TEST_F(PreemptionTest, NobodyMakesWayForWhatItsWorkerMayNotBeAbleToDo) {
  present_ = {{kWorker.id, 0, 1}};
  fixture_.Submit(0);
  Run(kWorker);  // Which has said nothing of itself.
  const LeaseRef bound = [&] {
    fixture_.Submit(0);
    const auto claim = fixture_.ClaimNext(kOtherWorker);
    EXPECT_OK(claim);
    return fixture_.LeaseOf(*claim, kOtherWorker);
  }();
  NewCheckpoint checkpoint = {3, {StoreFixture::File("state", '3')}, {}};
  checkpoint.execution.set_device("NVIDIA H200");
  checkpoint.execution.set_precision("fp32");
  ASSERT_OK(store().CommitCheckpoint(bound, checkpoint));
  JobUpdate update;
  update.priority = 9;
  ASSERT_OK(store().UpdateJob("jobs/j2", update, {}));
  ASSERT_OK(store().FinishAttempt(bound, 0, AttemptReturned{}));
  fixture_.clock().Advance(absl::Seconds(11));
  EXPECT_THAT(MakeWay(), IsEmpty());
}

TEST_F(PreemptionTest, NobodyMakesWayForAJobThatEndsEarlyThere) {
  ChangesHeard changes(store());
  present_ = {{kWorker.id, 0, 1}};
  fixture_.Submit(5);
  Run(kWorker);
  AttemptFailed crash = StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "it crashed");
  ASSERT_OK(store().FinishAttempt(leases_[0], 0, crash));
  fixture_.Submit(0);
  Run(kWorker);
  ASSERT_EQ(leases_[1].job, "jobs/j2");
  fixture_.clock().Advance(absl::Seconds(31));
  ASSERT_OK(store().RenewLeases(kWorker, {{"jobs/j2", leases_[1].lease_epoch}}));
  changes.WaitForAll();
  EXPECT_THAT(MakeWay(), IsEmpty()) << "it would be offered after the other one";
}

TEST_F(PreemptionTest, WithoutTheFlagEverybodyWaits) {
  present_ = {{kWorker.id, 1, 1}};
  fixture_.Submit(0);
  Run(kWorker);
  fixture_.Submit(5);
  EXPECT_THAT(Tick().preempted, IsEmpty());
}

TEST_F(SchedulerTest, LoopTicksWhenADeadlineIsSet) {
  fixture_.Submit();
  ASSERT_OK(store().PauseJob("jobs/j1", {}));
  Mutex mutex;
  CondVar changed;
  absl::Duration next = absl::InfiniteDuration();
  SchedulerLoop loop(store(), fixture_.clock(), scheduler_, [&](const Upkeep& upkeep) {
    MutexLock lock(mutex);
    next = Until(upkeep.next);
    changed.NotifyAll();
  });
  JobUpdate update;
  update.deadline = fixture_.clock().Now() + absl::Seconds(7);
  ASSERT_OK(store().UpdateJob("jobs/j1", update, {}));
  MutexLock lock(mutex);
  while (next != absl::Seconds(7)) changed.Wait(mutex);
}

TEST_F(SchedulerTest, AwaitedTicksAreWholeAndBeginAfterTheCall) {
  std::atomic<int> ended = 0;
  SchedulerLoop loop(store(), fixture_.clock(), scheduler_, [&](const Upkeep&) { ++ended; });
  for (int i = 0; i < 20; ++i) {
    const int before = ended;
    loop.AwaitTick();
    EXPECT_GT(ended, before);
  }
}

TEST_F(SchedulerTest, LoopTicksWhenAJobIsQueuedAndWhenItsLeaseEnds) {
  Mutex mutex;
  CondVar changed;
  int work_seen = 0;
  std::vector<std::string> expired;
  SchedulerLoop loop(store(), fixture_.clock(), scheduler_, [&](const Upkeep& upkeep) {
    EXPECT_OK(upkeep.status);
    MutexLock lock(mutex);
    work_seen += upkeep.work_available;
    expired.insert(expired.end(), upkeep.expired.begin(), upkeep.expired.end());
    changed.NotifyAll();
  });
  fixture_.Submit();
  {
    MutexLock lock(mutex);
    while (work_seen == 0) changed.Wait(mutex);
  }
  ASSERT_EQ(Lease(kWorker), "jobs/j1");
  fixture_.clock().Advance(absl::Seconds(60));
  loop.Wake();
  MutexLock lock(mutex);
  while (expired.empty()) changed.Wait(mutex);
  EXPECT_THAT(expired, ElementsAre("jobs/j1"));
}

}  // namespace
}  // namespace graft
