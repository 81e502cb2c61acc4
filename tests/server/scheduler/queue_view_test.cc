#include "server/scheduler/queue_view.h"

#include <limits>

#include "tests/server/store/changes_heard.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const Abilities kCpu = {{"cpu"}, {"fp32", "fp64"}, "AVX2", {"lora"}};

class QueueViewTest : public ::testing::Test {
 protected:
  QueueViewTest() {
    scheduler_.SetPresentWorkers([this] { return present_; });
  }
  JobStore& store() { return fixture_.store(); }
  void Connect(const std::string& worker, int slots = 1, int free_slots = 1) {
    present_.push_back({worker, free_slots, slots});
  }
  // The worker takes the job that comes next.
  LeaseRef Lease(const WorkerRef& worker, const Abilities& abilities = kCpu) {
    changes_.WaitForAll();
    const auto claim = scheduler_.LeaseJob(worker, "", abilities);
    EXPECT_OK(claim);
    EXPECT_TRUE(claim.ok() && claim->has_value());
    return claim.ok() && *claim ? fixture_.LeaseOf(**claim, worker) : LeaseRef();
  }
  void Report(const LeaseRef& lease, double eta_seconds) {
    EventBatch batch = StoreFixture::Batch(1, {StoreFixture::LossEvent(1, 2)});
    batch.stage = v1::JOB_STAGE_TRAINING;
    batch.step = 1;
    batch.total_steps = 10;
    batch.eta_seconds = eta_seconds;
    ASSERT_OK(store().AppendEvents(lease, batch));
  }
  v1::Job SubmitBf16() {
    NewJob job = StoreFixture::LoraJob();
    job.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_training()->set_precision(
        v1::PRECISION_BF16);
    const auto inserted = store().InsertJob(job);
    EXPECT_OK(inserted);
    return *inserted;
  }
  absl::StatusOr<v1::GetQueueResponse> Ask(const std::string& name = "", int page_size = 0,
                                           const std::string& token = "") {
    changes_.WaitForAll();
    v1::GetQueueRequest request;
    request.set_name(name);
    request.set_page_size(page_size);
    request.set_page_token(token);
    return view_.Read(request);
  }
  v1::QueueEntry Entry(const std::string& name) {
    const auto response = Ask(name);
    EXPECT_OK(response);
    return response.ok() && response->jobs_size() == 1 ? response->jobs(0) : v1::QueueEntry();
  }

  StoreFixture fixture_{StoreKind::kMemory};
  ChangesHeard changes_{fixture_.store()};
  Scheduler scheduler_{fixture_.store(), fixture_.clock()};
  std::vector<PresentWorker> present_;
  QueueView view_{fixture_.store(), fixture_.clock(), scheduler_};
};

TEST_F(QueueViewTest, WithoutAWorkerEveryJobWaitsForOne) {
  fixture_.Submit();
  fixture_.Submit(5);
  const auto response = Ask();
  ASSERT_OK(response);
  ASSERT_EQ(response->jobs_size(), 2);
  EXPECT_EQ(response->total(), 2);
  EXPECT_EQ(response->jobs(0).name(), "jobs/j2");
  EXPECT_EQ(response->jobs(0).priority(), 5);
  EXPECT_EQ(response->jobs(0).method(), "lora");
  EXPECT_EQ(response->jobs(1).position(), 2);
  for (const v1::QueueEntry& entry : response->jobs()) {
    EXPECT_EQ(entry.reason(), v1::WAIT_REASON_NO_WORKER);
    EXPECT_EQ(entry.waits(), "no worker is connected");
    EXPECT_FALSE(entry.has_expected_start_seconds());
    EXPECT_TRUE(entry.has_queue_time());
  }
}

TEST_F(QueueViewTest, EachWorkerSaysWhatItLacks) {
  Connect("w-1");
  fixture_.Submit();
  Lease(kWorker);
  const std::string name = SubmitBf16().name();
  const v1::QueueEntry entry = Entry(name);
  EXPECT_EQ(entry.reason(), v1::WAIT_REASON_NO_FITTING_WORKER);
  EXPECT_EQ(entry.waits(),
            "no worker that is connected can do it, as it needs bf16: w-1 lacks precision bf16 (it "
            "has fp32, fp64)");
  ASSERT_EQ(entry.workers_size(), 1);
  EXPECT_THAT(entry.workers(0).lacks(), ElementsAre("precision bf16 (it has fp32, fp64)"));
  EXPECT_THAT(entry.runs_before(), IsEmpty()) << "what cannot have the worker waits for nobody's";
  // One of which nothing is known yet may be able to.
  Connect("w-2");
  EXPECT_EQ(Entry(name).reason(), v1::WAIT_REASON_STARTING);
}

TEST_F(QueueViewTest, ABusyWorkerTellsWhenItIsFree) {
  Connect("w-1");
  fixture_.Submit();
  const LeaseRef running = Lease(kWorker);
  fixture_.Submit();
  fixture_.Submit();
  fixture_.Submit(7);
  EXPECT_FALSE(Entry("jobs/j2").has_expected_start_seconds()) << "nothing was reported yet";
  Report(running, 100);
  const v1::QueueEntry first = Entry("jobs/j4");
  EXPECT_EQ(first.reason(), v1::WAIT_REASON_BUSY);
  EXPECT_EQ(first.waits(), "the only worker that can do it is busy");
  EXPECT_EQ(first.position(), 1);
  EXPECT_EQ(first.expected_start_seconds(), 100);
  EXPECT_THAT(first.runs_before(), ElementsAre("jobs/j1"));
  ASSERT_EQ(first.workers_size(), 1);
  EXPECT_EQ(first.workers(0).free_slots(), 0);
  EXPECT_THAT(first.workers(0).lacks(), IsEmpty());
  const v1::QueueEntry second = Entry("jobs/j2");
  EXPECT_EQ(second.waits(), "the only worker that can do it is busy; 1 job goes first");
  EXPECT_THAT(second.runs_before(), ElementsAre("jobs/j1", "jobs/j4"));
  EXPECT_FALSE(second.has_expected_start_seconds()) << "nobody knows how long jobs/j4 takes";
  EXPECT_THAT(Entry("jobs/j3").waits(), HasSubstr("; 2 jobs go first"));
  fixture_.clock().Advance(absl::Seconds(30));
  EXPECT_EQ(Entry("jobs/j4").expected_start_seconds(), 70);
}

TEST_F(QueueViewTest, WhatSuchJobsTookTellsWhenTheNextOneStarts) {
  Connect("w-1");
  fixture_.Submit();
  const LeaseRef measured = Lease(kWorker);
  v1::JobEvent began;
  began.mutable_stage_change()->set_stage(v1::JOB_STAGE_TRAINING);
  began.mutable_stage_change()->set_device("cpu");
  ASSERT_OK(store().AppendEvents(measured, StoreFixture::Batch(1, {began})));
  fixture_.clock().Advance(absl::Seconds(40));
  ASSERT_OK(store().FinishAttempt(measured, 1, StoreFixture::Success()));
  fixture_.Submit();
  const LeaseRef running = Lease(kWorker);
  Report(running, 100);
  for (int i = 0; i < 2; ++i) fixture_.Submit();
  EXPECT_EQ(Entry("jobs/j3").expected_start_seconds(), 100);
  EXPECT_EQ(Entry("jobs/j4").expected_start_seconds(), 140);
}

TEST_F(QueueViewTest, AFailureAndAHandBackAreToldWithTheTimeLeft) {
  Connect("w-1");
  fixture_.Submit();
  LeaseRef lease = Lease(kWorker);
  ASSERT_OK(store().FinishAttempt(
      lease, 0, StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "no engine")));
  v1::QueueEntry entry = Entry("jobs/j1");
  EXPECT_EQ(entry.reason(), v1::WAIT_REASON_BACK_OFF);
  EXPECT_EQ(entry.back_off_seconds(), 1);
  EXPECT_THAT(entry.waits(), HasSubstr("it is offered again in 1 s: "));
  EXPECT_THAT(entry.waits(), HasSubstr("no engine"));
  EXPECT_EQ(entry.expected_start_seconds(), 1);
  fixture_.clock().Advance(absl::Seconds(2));
  EXPECT_EQ(Entry("jobs/j1").reason(), v1::WAIT_REASON_STARTING);
  lease = Lease(kWorker);
  ASSERT_OK(store().FinishAttempt(lease, 0, AttemptReturned{}));
  EXPECT_EQ(Entry("jobs/j1").back_off_seconds(), 10);
  fixture_.clock().Advance(absl::Seconds(10));
  entry = Entry("jobs/j1");
  EXPECT_EQ(entry.reason(), v1::WAIT_REASON_SET_ASIDE);
  EXPECT_EQ(entry.waits(), "nobody who can do it takes it now: w-1 handed it back");
  EXPECT_TRUE(entry.workers(0).handed_back());
  EXPECT_FALSE(entry.has_expected_start_seconds());
}

TEST_F(QueueViewTest, AWorkerThatIsSetAsideSaysForHowLong) {
  Connect("w-1");
  fixture_.Submit();
  const LeaseRef lease = Lease(kWorker);
  AttemptReturned fault;
  fault.worker_fault = true;
  ASSERT_OK(store().FinishAttempt(lease, 0, fault));
  fixture_.Submit();
  const v1::QueueEntry entry = Entry("jobs/j2");
  EXPECT_EQ(entry.reason(), v1::WAIT_REASON_SET_ASIDE);
  EXPECT_THAT(entry.waits(), HasSubstr("w-1 is set aside for 10 s"));
  EXPECT_EQ(entry.workers(0).set_aside_seconds(), 10);
  EXPECT_EQ(entry.expected_start_seconds(), 10);
}

TEST_F(QueueViewTest, AFreeSlotIsForWhoeverGoesFirst) {
  Connect("w-1", /*slots=*/2, /*free_slots=*/2);
  for (int i = 0; i < 3; ++i) fixture_.Submit();
  EXPECT_EQ(Entry("jobs/j1").reason(), v1::WAIT_REASON_STARTING);
  EXPECT_EQ(Entry("jobs/j2").reason(), v1::WAIT_REASON_STARTING);
  EXPECT_EQ(Entry("jobs/j3").reason(), v1::WAIT_REASON_BEHIND_OTHERS);
  EXPECT_EQ(Entry("jobs/j3").waits(), "2 jobs go first");
  // A text takes a slot, too.
  present_[0].free_slots = 1;
  EXPECT_EQ(Entry("jobs/j2").reason(), v1::WAIT_REASON_BEHIND_OTHERS);
}

TEST_F(QueueViewTest, AWorkerMaySayThatItHasAnyNumberOfSlots) {
  constexpr int kMost = std::numeric_limits<int>::max();
  Connect("w-1", kMost, kMost);
  Connect("w-2", std::numeric_limits<int>::min(), std::numeric_limits<int>::min());
  fixture_.Submit();
  const LeaseRef lease = Lease({"w-2", "i-1"});
  for (int i = 0; i < 250; ++i) fixture_.Submit();
  EXPECT_EQ(Entry("jobs/j251").reason(), v1::WAIT_REASON_STARTING);
  EXPECT_EQ(Entry("jobs/j2").expected_start_seconds(), 0);
}

TEST_F(QueueViewTest, PagesHaveEachJobOnce) {
  for (int i = 0; i < 5; ++i) fixture_.Submit(i % 2);
  std::vector<std::string> names;
  std::vector<int64_t> positions;
  std::string token;
  do {
    const auto page = Ask("", 2, token);
    ASSERT_OK(page);
    for (const v1::QueueEntry& entry : page->jobs()) {
      names.push_back(entry.name());
      positions.push_back(entry.position());
      EXPECT_THAT(entry.workers(), IsEmpty());
    }
    token = page->next_page_token();
  } while (!token.empty());
  EXPECT_THAT(names, ElementsAre("jobs/j2", "jobs/j4", "jobs/j1", "jobs/j3", "jobs/j5"));
  EXPECT_THAT(positions, ElementsAre(1, 2, 3, 4, 5));
  EXPECT_TRUE(absl::IsInvalidArgument(Ask("", 2, "broken").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Ask("", -1).status()));
}

TEST_F(QueueViewTest, AJobThatDoesNotWaitHasNoPlace) {
  fixture_.Submit();
  Lease(kWorker);
  const absl::Status running = Ask("jobs/j1").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(running));
  EXPECT_EQ(ReasonOf(running), kReasonWrongState);
  EXPECT_THAT(std::string(running.message()), HasSubstr("jobs/j1 is RUNNING"));
  EXPECT_TRUE(absl::IsNotFound(Ask("jobs/none").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Ask("jobs/..").status()));
}

TEST_F(QueueViewTest, AJobBehindTheHeadKnowsItsPlace) {
  for (int i = 0; i < kQueueHead + 2; ++i) fixture_.Submit();
  const std::string last = absl::StrCat("jobs/j", kQueueHead + 2);
  Connect("w-1", 1, 0);
  const v1::QueueEntry entry = Entry(last);
  EXPECT_EQ(entry.position(), kQueueHead + 2);
  EXPECT_THAT(entry.waits(), HasSubstr(absl::StrCat("; ", kQueueHead + 1, " jobs go first")));
  EXPECT_EQ(entry.runs_before_size(), static_cast<int>(kMaxQueueDetails));
  const auto glance = view_.Glance(last);
  ASSERT_OK(glance);
  EXPECT_EQ(glance->name(), "");
}

TEST_F(QueueViewTest, AGlanceIsASecondOldAtTheMost) {
  fixture_.Submit();
  EXPECT_EQ(view_.Glance("jobs/j1")->waits(), "no worker is connected");
  Connect("w-1");
  EXPECT_EQ(view_.Glance("jobs/j1")->waits(), "no worker is connected");
  fixture_.clock().Advance(kGlanceAge);
  EXPECT_EQ(view_.Glance("jobs/j1")->reason(), v1::WAIT_REASON_STARTING);
}

TEST_F(QueueViewTest, AJobThatIsNotThereYetHasTheStartOfOneThatIs) {
  Connect("w-1");
  fixture_.Submit();
  const LeaseRef running = Lease(kWorker);
  Report(running, 100);
  fixture_.Submit();
  const v1::JobSpec spec = StoreFixture::LoraJob().job.resolved_spec();
  for (const int32_t priority : {0, 7}) {
    changes_.WaitForAll();
    const auto foreseen = view_.Foresee(spec, priority);
    ASSERT_OK(foreseen);
    const v1::Job job = fixture_.Submit(priority);
    v1::QueueEntry entry = Entry(job.name());
    EXPECT_EQ(foreseen->position(), entry.position());
    EXPECT_EQ(foreseen->waits(), entry.waits());
    EXPECT_EQ(foreseen->has_expected_start_seconds(), entry.has_expected_start_seconds());
    EXPECT_DOUBLE_EQ(foreseen->expected_start_seconds(), entry.expected_start_seconds());
    EXPECT_EQ(foreseen->name(), "");
  }
  EXPECT_EQ(view_.Foresee(spec, 7)->position(), 2);
}

TEST_F(QueueViewTest, AJobThatWouldStandBehindTheHeadKnowsItsPlace) {
  for (int i = 0; i <= kQueueHead; ++i) fixture_.Submit();
  changes_.WaitForAll();
  const v1::JobSpec spec = StoreFixture::LoraJob().job.resolved_spec();
  const auto foreseen = view_.Foresee(spec, 0);
  ASSERT_OK(foreseen);
  EXPECT_EQ(foreseen->position(), kQueueHead + 2);
  EXPECT_EQ(view_.Foresee(spec, 1)->position(), 1);
}

}  // namespace
}  // namespace graft
