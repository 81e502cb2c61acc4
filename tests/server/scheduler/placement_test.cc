// Which worker is offered which job, played through the scheduler over a store.

#include "server/scheduler/placement.h"

#include "server/scheduler/scheduler.h"
#include "tests/server/store/changes_heard.h"
#include "tests/server/store/faulty_store.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const Abilities kOldCpu = {{"cpu"}, {"fp32", "fp64"}, "AVX2"};
const Abilities kNewCpu = {{"cpu"}, {"fp32", "bf16", "fp64"}, "AVX512"};
const Abilities kH200 = {{"NVIDIA H200"}, {"fp32", "bf16", "fp64"}, "AVX512"};

TEST(CanServeTest, TheFirstCheckpointBindsToDeviceInstructionSetAndPrecision) {
  struct Case {
    JobNeeds needs;
    bool old_cpu, new_cpu, h200;
  };
  for (const Case& each : {Case{{}, true, true, true},
                           {{"cpu", "AVX2", "fp32"}, true, false, true},
                           {{"cpu", "AVX512", "bf16"}, false, true, true},
                           {{"cpu", "AVX2", "bf16"}, false, false, true},
                           {{"cpu", "", "fp32"}, true, true, true},
                           {{"NVIDIA H200", "", "bf16"}, false, false, true},
                           {{"NVIDIA H100", "", "bf16"}, false, false, false},
                           {{"", "", "bf16"}, false, true, true}}) {
    const std::string what = NeedsText(each.needs);
    EXPECT_EQ(CanServe(kOldCpu, each.needs), each.old_cpu) << what;
    EXPECT_EQ(CanServe(kNewCpu, each.needs), each.new_cpu) << what;
    EXPECT_EQ(CanServe(kH200, each.needs), each.h200) << what;
    EXPECT_TRUE(CanServe(std::nullopt, each.needs)) << what;
  }
}

TEST(CanServeTest, WhatAWorkerLacksIsToldWithWhatItHas) {
  EXPECT_THAT(Lacks(kOldCpu, {"NVIDIA H200", "", "bf16", "dora"}),
              ElementsAre("method dora", "precision bf16 (it has fp32, fp64)",
                          "device NVIDIA H200 (it has cpu)"));
  EXPECT_THAT(Lacks(kNewCpu, {"cpu", "AVX2", "fp32"}),
              ElementsAre("instruction set AVX2 (it has AVX512)"));
  EXPECT_THAT(Lacks(kH200, {"cpu", "AVX2", "bf16"}), IsEmpty());
}

TEST(CanServeTest, AMethodIsForWorkersThatNameIt) {
  const JobNeeds dora = {"", "", "", "dora"}, both = {"", "", "fp32", "dora+later"};
  Abilities knows = kOldCpu;
  knows.methods = {"lora", "dora"};
  EXPECT_TRUE(CanServe(knows, dora));
  EXPECT_FALSE(CanServe(knows, both));
  EXPECT_FALSE(CanServe(kOldCpu, dora)) << "a worker of an earlier build";
  EXPECT_FALSE(CanServe(std::nullopt, dora)) << "one of a build before that";
  EXPECT_EQ(NeedsText(both), "fp32, dora+later");
  // It has had no engine yet: what it computes with is not known.
  const Abilities fresh = {{}, {}, "", {"lora", "dora"}};
  EXPECT_TRUE(CanServe(fresh, dora));
  EXPECT_TRUE(CanServe(fresh, {"cpu", "AVX2", "fp32"}));
}

class PlacementTest : public ::testing::Test {
 protected:
  PlacementTest() {
    scheduler_.SetPresentWorkers([this] { return present_; });
  }
  JobStore& store() { return fixture_.store(); }
  // The lease, if there is one.
  std::optional<LeaseRef> Lease(const WorkerRef& worker,
                                const std::optional<Abilities>& abilities = std::nullopt) {
    changes_.WaitForAll();
    const auto claim = scheduler_.LeaseJob(worker, "", abilities);
    EXPECT_OK(claim);
    if (!claim.ok() || !claim->has_value()) return std::nullopt;
    return fixture_.LeaseOf(**claim, worker);
  }
  std::string Name(const std::optional<LeaseRef>& lease) { return lease ? lease->job : ""; }
  v1::JobState Fail(const LeaseRef& lease) {
    const auto state = store().FinishAttempt(
        lease, 0, StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "no engine"));
    EXPECT_OK(state);
    return state.ok() ? *state : v1::JOB_STATE_UNSPECIFIED;
  }
  void Return(const LeaseRef& lease, bool worker_fault) {
    AttemptReturned returned;
    returned.worker_fault = worker_fault;
    EXPECT_OK(store().FinishAttempt(lease, 0, returned));
  }
  void Progress(const LeaseRef& lease) {
    EXPECT_OK(store().AppendEvents(lease, StoreFixture::Batch(1, {StoreFixture::LossEvent(1, 2)})));
  }
  std::set<std::string> SetAside() {
    changes_.WaitForAll();
    return scheduler_.SetAside();
  }
  void Pass(absl::Duration time) {
    changes_.WaitForAll();  // Their moment is before it.
    fixture_.clock().Advance(time);
    EXPECT_OK(scheduler_.Tick().status);
  }

  StoreFixture fixture_{StoreKind::kMemory};
  Scheduler scheduler_{fixture_.store(), fixture_.clock()};
  ChangesHeard changes_{fixture_.store()};
  std::vector<PresentWorker> present_ = {{"w-1", 1}, {"w-2", 1}};
};

TEST_F(PlacementTest, AWorkerFindsItsJobsBehindThoseThatItCannotDo) {
  for (int i = 0; i < 5000; ++i) {
    NewJob job = StoreFixture::LoraJob(5);
    job.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_training()->set_precision(
        v1::PRECISION_BF16);
    ASSERT_OK(store().InsertJob(job));
  }
  fixture_.Submit();
  EXPECT_EQ(Name(Lease(kWorker, kOldCpu)), "jobs/j5001");
  EXPECT_EQ(Name(Lease(kWorker, kOldCpu)), "");
  EXPECT_EQ(Name(Lease(kWorker, kNewCpu)), "jobs/j1");
  EXPECT_EQ(Name(Lease(kOtherWorker)), "jobs/j2");
}

TEST_F(PlacementTest, AJobThatNobodyCanDoSaysSo) {
  NewJob job = StoreFixture::LoraJob();
  job.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_training()->set_precision(
      v1::PRECISION_BF16);
  ASSERT_OK(store().InsertJob(job));
  EXPECT_EQ(scheduler_.WhyItWaits(fixture_.Needs("jobs/j1")),
            "");  // Nobody has said what it can do.
  EXPECT_EQ(Name(Lease(kWorker, kOldCpu)), "");
  EXPECT_EQ(scheduler_.WhyItWaits(fixture_.Needs("jobs/j1")), "");
  EXPECT_EQ(Name(Lease(kOtherWorker, kOldCpu)), "");
  EXPECT_EQ(scheduler_.WhyItWaits(fixture_.Needs("jobs/j1")),
            "no worker that is connected can take it; it needs bf16");
  present_.push_back({"w-3", 0});
  EXPECT_EQ(scheduler_.WhyItWaits(fixture_.Needs("jobs/j1")), "");
  present_.clear();
  EXPECT_EQ(scheduler_.WhyItWaits(fixture_.Needs("jobs/j1")), "");
}

TEST_F(PlacementTest, AHandBackIsNotOfferedToThatInstanceAgainNorToAnyoneForAWhile) {
  fixture_.Submit();
  Return(*Lease(kWorker), false);
  fixture_.Submit();
  EXPECT_EQ(Name(Lease(kWorker)), "jobs/j2");  // It is not set aside.
  EXPECT_EQ(Name(Lease(kOtherWorker)), "");
  Pass(absl::Seconds(10));
  EXPECT_EQ(Name(Lease(kWorker)), "");
  EXPECT_EQ(Name(Lease({"w-1", "i-9"})), "jobs/j1");
}

TEST_F(PlacementTest, AWorkerAtFaultIsSetAsideForLongerAndLonger) {
  fixture_.Submit();
  fixture_.Submit();
  absl::Duration expected = absl::Seconds(10);
  for (int i = 0; i < 9; ++i) {
    const auto lease = Lease(kWorker);
    ASSERT_TRUE(lease.has_value()) << i;
    Return(*lease, true);
    EXPECT_THAT(SetAside(), ElementsAre("w-1"));
    const Upkeep upkeep = scheduler_.Tick();
    ASSERT_OK(upkeep.status);
    ASSERT_THAT(upkeep.set_aside, ElementsAre(std::pair(std::string("w-1"), expected)));
    Pass(expected - absl::Seconds(1));
    fixture_.Submit();
    EXPECT_EQ(Name(Lease(kWorker)), "");
    Pass(absl::Seconds(1));
    expected = std::min(2 * expected, absl::Minutes(10));
  }
  EXPECT_EQ(expected, absl::Minutes(10));
  // Progress ends it, and the next time begins at ten seconds.
  const auto lease = Lease(kWorker);
  ASSERT_TRUE(lease.has_value());
  Progress(*lease);
  EXPECT_THAT(SetAside(), IsEmpty());
  Return(*lease, true);
  Pass(absl::Seconds(10));
  EXPECT_TRUE(Lease(kWorker).has_value());
}

TEST(PlacementOfInstancesTest, WhatAnOldInstanceDoesChangesNothingOfTheNewOne) {
  const absl::Duration now = absl::Seconds(100);
  const WorkerRef old = {"w-1", "i-0"};
  Placement placement;
  placement.Asked(kWorker, kOldCpu, now);
  JobChange change;
  change.job = "jobs/j1";
  change.state = v1::JOB_STATE_QUEUED;
  change.previous_state = v1::JOB_STATE_RUNNING;
  change.holder = kWorker;
  change.end = AttemptEnd::kWorkerFault;
  placement.Changed(change, now);
  ASSERT_TRUE(placement.IsSetAside(kWorker, now));
  // Its worker's end and its first progress are told late.
  change.holder = old;
  placement.Changed(change, now);
  change.state = change.previous_state = v1::JOB_STATE_RUNNING;
  change.end = AttemptEnd::kNone;
  change.progressed = true;
  placement.Changed(change, now);
  EXPECT_TRUE(placement.IsSetAside(kWorker, now));
  EXPECT_EQ(placement.TakeNewlySetAside().size(), 1u);
  EXPECT_THAT(placement.WhyNobody({"", "", "bf16"}, {{"w-1", 1}}, now), HasSubstr("it needs bf16"));
}

TEST_F(PlacementTest, AfterAFailureAnotherWorkerThatIsIdleIsPreferred) {
  fixture_.Submit();
  const auto lease = Lease(kWorker);
  Progress(*lease);
  EXPECT_OK(store().FinishAttempt(
      *lease, 1, StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "killed")));
  Pass(absl::Seconds(1));
  EXPECT_EQ(Name(Lease(kWorker)), "");
  present_[1].free_slots = 0;
  const auto again = Lease(kWorker);
  ASSERT_EQ(Name(again), "jobs/j1");
  present_[1].free_slots = 1;
  Fail(*again);
  Pass(absl::Seconds(2));
  EXPECT_EQ(Name(Lease(kWorker)), "");
  Pass(absl::Seconds(28));  // The other has had its chance.
  EXPECT_EQ(Name(Lease(kWorker)), "jobs/j1");
}

TEST_F(PlacementTest, NobodyWaitsForAWorkerThatCannotDoTheJobOrIsSetAside) {
  NewJob job = StoreFixture::LoraJob();
  job.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_training()->set_precision(
      v1::PRECISION_BF16);
  ASSERT_OK(store().InsertJob(job));
  EXPECT_EQ(Name(Lease(kOtherWorker, kOldCpu)), "");
  const auto lease = Lease(kWorker, kNewCpu);
  ASSERT_TRUE(lease.has_value());
  Fail(*lease);
  Pass(absl::Seconds(1));
  EXPECT_EQ(Name(Lease(kWorker, kNewCpu)), "jobs/j1");
}

TEST_F(PlacementTest, AWorkerWhoseAttemptsEndEarlyIsSetAsideAndTheJobsAreForgiven) {
  for (int i = 0; i < 3; ++i) fixture_.Submit();
  const auto first = Lease(kWorker), second = Lease(kWorker);
  Fail(*first);
  EXPECT_THAT(SetAside(), IsEmpty());
  EXPECT_THAT(fixture_.Get("jobs/j1").state_reason(), HasSubstr("failure 1 of 5"));
  Fail(*second);
  EXPECT_THAT(SetAside(), ElementsAre("w-1"));
  EXPECT_EQ(Name(Lease(kWorker)), "");
  Pass(absl::Seconds(1));
  // Neither has a failure to its account: each has five left.
  for (int i = 0; i < 3; ++i) {
    const auto lease = Lease(kOtherWorker);
    ASSERT_TRUE(lease.has_value());
    if (lease->job == "jobs/j1") {
      Progress(*lease);
      EXPECT_OK(store().FinishAttempt(
          *lease, 1, StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "killed")));
    } else {
      EXPECT_OK(store().FinishAttempt(*lease, 0, StoreFixture::Success()));
    }
  }
  EXPECT_THAT(fixture_.Get("jobs/j1").state_reason(), HasSubstr("1 of 20 without progress"));
  EXPECT_THAT(SetAside(), ElementsAre("w-1"));
}

TEST_F(PlacementTest, WhatAnotherWorkerGetsFurtherWithWasNotTheJobsFault) {
  fixture_.Submit();
  Fail(*Lease(kWorker));
  Pass(absl::Seconds(1));
  const auto lease = Lease(kOtherWorker);
  Progress(*lease);
  Pass(absl::Seconds(1));
  EXPECT_OK(store().FinishAttempt(
      *lease, 1, StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "killed")));
  EXPECT_THAT(fixture_.Get("jobs/j1").state_reason(), HasSubstr("1 of 20 without progress"));
}

TEST_F(PlacementTest, AJobThatFailsEarlyEverywhereFailsInTheEnd) {
  fixture_.Submit();
  v1::JobState state = v1::JOB_STATE_QUEUED;
  int attempts = 0;
  for (int i = 0; i < 1000 && state == v1::JOB_STATE_QUEUED; ++i) {
    const auto lease = Lease(i % 2 == 0 ? kWorker : kOtherWorker);
    if (lease.has_value()) {
      ++attempts;
      state = Fail(*lease);
    }
    Pass(absl::Seconds(5));
  }
  EXPECT_EQ(state, v1::JOB_STATE_FAILED);
  EXPECT_EQ(attempts, 5);
}

TEST_F(PlacementTest, JobsThatNoWorkerCanDoAreNotForgivenForEver) {
  present_ = {{"w-1", 2}};
  fixture_.Submit();
  fixture_.Submit();
  int attempts = 0;
  for (int i = 0; i < 10'000 && !fixture_.Get("jobs/j1").done(); ++i) {
    const auto lease = Lease(kWorker);
    if (lease.has_value()) {
      ++attempts;
      Fail(*lease);
    }
    Pass(absl::Seconds(30));
  }
  EXPECT_EQ(fixture_.Get("jobs/j1").state(), v1::JOB_STATE_FAILED);
  EXPECT_GT(attempts, kMaxForgiven);
}

// Writes of the store fail.
TEST(PlacementOnAFullDiskTest, NeitherWarningsNorForgivenFailuresAreLost) {
  StoreFixture fixture(StoreKind::kSqlite, FastDirectory());
  const auto store = OpenFaultyStore(fixture);
  Scheduler scheduler(*store, fixture.clock());
  ChangesHeard changes(*store);
  const auto lease = [&](const WorkerRef& worker) {
    changes.WaitForAll();
    const auto claim = scheduler.LeaseJob(worker, "", std::nullopt);
    EXPECT_TRUE(claim.ok() && claim->has_value());
    return fixture.LeaseOf(**claim, worker);
  };
  const auto fail = [&](const LeaseRef& failed) {
    EXPECT_OK(store->FinishAttempt(
        failed, 0, StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "no engine")));
  };
  for (int i = 0; i < 2; ++i) ASSERT_OK(store->InsertJob(StoreFixture::LoraJob()));
  const LeaseRef first = lease(kWorker), second = lease(kWorker);
  fail(first);
  fail(second);
  changes.WaitForAll();
  Faults().write_error = SQLITE_FULL;
  const Upkeep failed = scheduler.Tick();
  EXPECT_EQ(ReasonOf(failed.status), kReasonDiskFull);
  EXPECT_THAT(failed.set_aside, ElementsAre(std::pair(std::string("w-1"), kFirstSetAside)));
  EXPECT_EQ(failed.next - fixture.clock().Boottime(), absl::Seconds(1));
  ResetFaults();
  EXPECT_OK(scheduler.Tick().status);
  fixture.clock().Advance(absl::Seconds(1));
  for (int i = 0; i < 2; ++i) {
    const LeaseRef again = lease(kOtherWorker);
    fail(again);
    EXPECT_THAT(store->GetJob(again.job)->state_reason(), HasSubstr("failure 1 of 5"));
  }
}

// Twelve jobs, one worker whose engine does not start and one that is well.
TEST_F(PlacementTest, OneBrokenWorkerFailsNoJob) {
  for (int i = 0; i < 12; ++i) fixture_.Submit();
  std::optional<LeaseRef> running;
  int wasted = 0;
  for (int second = 0; second < 3600; ++second) {
    present_[1].free_slots = running.has_value() ? 0 : 1;
    while (const auto lease = Lease(kWorker)) {
      ++wasted;
      Fail(*lease);
    }
    if (running.has_value() && second % 5 == 0) {
      EXPECT_OK(store().FinishAttempt(*running, 1, StoreFixture::Success()));
      running.reset();
    }
    if (!running.has_value()) {
      running = Lease(kOtherWorker);
      if (running.has_value()) Progress(*running);
    }
    Pass(absl::Seconds(1));
  }
  for (int i = 1; i <= 12; ++i) {
    EXPECT_EQ(fixture_.Get(absl::StrCat("jobs/j", i)).state(), v1::JOB_STATE_SUCCEEDED) << i;
  }
  EXPECT_LT(wasted, 12);
}

}  // namespace
}  // namespace graft
