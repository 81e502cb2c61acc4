#include <future>
#include <thread>

#include "common/base/limits.h"
#include "common/base/mutex.h"
#include "common/jobs/timestamps.h"
#include "server/store/job_listeners.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class JobsTest : public StoreTest {
 protected:
  std::vector<std::string> List(JobQuery query) {
    std::vector<std::string> names;
    do {
      const auto page = store().ListJobs(query);
      EXPECT_OK(page);
      if (!page.ok()) break;
      for (const v1::Job& job : page->items) names.push_back(job.name());
      query.page_token = page->next_page_token;
    } while (!query.page_token.empty());
    return names;
  }
};
INSTANTIATE_ON_EVERY_STORE(JobsTest);

TEST_P(JobsTest, SubmittedJobIsQueuedWithItsFirstEvent) {
  NewJob new_job = StoreFixture::LoraJob(5);
  new_job.job.set_display_name("first");
  (*new_job.job.mutable_labels())["team"] = "a";
  const auto job = store().InsertJob(new_job);
  ASSERT_OK(job);
  EXPECT_EQ(job->name(), "jobs/j1");
  EXPECT_EQ(job->state(), v1::JOB_STATE_QUEUED);
  EXPECT_FALSE(job->done());
  EXPECT_EQ(job->priority(), 5);
  EXPECT_EQ(job->last_sequence(), 1);
  EXPECT_EQ(FromTimestamp(job->create_time()), fixture_.clock().Now());
  EXPECT_EQ(job->resolved_spec().fine_tune().output_name(), "j1");
  EXPECT_EQ(job->spec().fine_tune().output_name(), "");
  v1::Job got = fixture_.Get("jobs/j1");
  EXPECT_EQ(got.queue_position(), 1);
  got.clear_queue_position();
  EXPECT_EQ(got.DebugString(), job->DebugString());
  EXPECT_EQ(fixture_.Get("j1").name(), "jobs/j1");
  const auto events = fixture_.Events("jobs/j1");
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].sequence(), 1);
  EXPECT_EQ(events[0].state_change().to(), v1::JOB_STATE_QUEUED);
}

TEST_P(JobsTest, SameRequestIdAndBodyAnswersTheFirstJobAgain) {
  NewJob new_job = StoreFixture::LoraJob();
  new_job.request = {"request-1", "body-1"};
  const auto first = store().InsertJob(new_job);
  ASSERT_OK(first);
  const auto again = store().InsertJob(new_job);
  ASSERT_OK(again);
  EXPECT_EQ(again->DebugString(), first->DebugString());
  EXPECT_THAT(List({}), ElementsAre("jobs/j1"));
  new_job.request.body_sha256 = "body-2";
  const auto other = store().InsertJob(new_job);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReasonOf(other.status()), kReasonRequestIdReused);
}

TEST_P(JobsTest, AnswersAreKeptForADay) {
  NewJob new_job = StoreFixture::LoraJob();
  new_job.request = {"request-1", "body-1"};
  ASSERT_OK(store().InsertJob(new_job));
  fixture_.clock().Advance(absl::Hours(24));
  EXPECT_EQ(*store().PruneRequestIds(), 0);
  ASSERT_OK(store().InsertJob(new_job));
  EXPECT_THAT(List({}), SizeIs(1));
  fixture_.clock().Advance(absl::Seconds(1));
  EXPECT_EQ(*store().PruneRequestIds(), 1);
  ASSERT_OK(store().InsertJob(new_job));
  EXPECT_THAT(List({}), SizeIs(2));
}

TEST_P(JobsTest, FullQueueRefusesWithARetryDelay) {
  fixture_.options().max_queued_jobs = 2;
  fixture_.Reopen();
  if (GetParam() == StoreKind::kMemory) StoreFixture::Fill(store());
  fixture_.Submit();
  fixture_.Submit();
  const auto refused = store().InsertJob(StoreFixture::LoraJob());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused.status()), kReasonQueueFull);
  EXPECT_GT(RetryDelayOf(refused.status()), absl::ZeroDuration());
  ASSERT_OK(fixture_.ClaimNext(kWorker));
  EXPECT_OK(store().InsertJob(StoreFixture::LoraJob()));
}

TEST_P(JobsTest, JobOfMissingOrChangedInputIsRefusedAndLeavesNothing) {
  NewJob missing = StoreFixture::LoraJob();
  missing.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_data()->set_train("nothing");
  const auto gone = store().InsertJob(missing);
  EXPECT_EQ(gone.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(gone.status().message()), HasSubstr("no data set nothing"));
  NewJob changed = StoreFixture::LoraJob();
  changed.job.mutable_resolved_spec()->mutable_fine_tune()->set_base_model_sha256("old");
  EXPECT_EQ(ReasonOf(store().InsertJob(changed).status()), kReasonVersionChanged);
  EXPECT_THAT(List({}), IsEmpty());
}

TEST_P(JobsTest, OutputNamesBelongToOne) {
  NewJob named = StoreFixture::LoraJob();
  named.job.mutable_resolved_spec()->mutable_fine_tune()->set_output_name("best");
  const auto first = store().InsertJob(named);
  ASSERT_OK(first);
  const auto second = store().InsertJob(named);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReasonOf(second.status()), kReasonNameTaken);
  EXPECT_EQ(ReasonOf(store().InsertAdapter(StoreFixture::NewAdapter("best")).status()),
            kReasonNameTaken);
  // A cancelled job gives its name back; an adapter keeps it.
  ASSERT_OK(store().CancelJob(first->name(), {}));
  ASSERT_OK(store().InsertAdapter(StoreFixture::NewAdapter("best")));
  EXPECT_EQ(ReasonOf(store().InsertJob(named).status()), kReasonNameTaken);
}

TEST_P(JobsTest, CheckRefusesWhatInsertWouldAndLeavesNothing) {
  NewJob named = StoreFixture::LoraJob();
  named.job.mutable_resolved_spec()->mutable_fine_tune()->set_output_name("best");
  EXPECT_OK(store().CheckJob(named));
  EXPECT_THAT(List({}), IsEmpty());
  ASSERT_OK(store().InsertJob(named));
  EXPECT_EQ(ReasonOf(store().CheckJob(named)), kReasonNameTaken);
  NewJob changed = StoreFixture::LoraJob();
  EXPECT_OK(store().CheckJob(changed));
  changed.job.mutable_resolved_spec()->mutable_fine_tune()->set_base_model_sha256("old");
  EXPECT_EQ(ReasonOf(store().CheckJob(changed)), kReasonVersionChanged);
}

TEST_P(JobsTest, APageEndsBeforeItIsTooLargeForAMessage) {
  NewJob job = StoreFixture::LoraJob();
  for (int i = 0; i < kMaxLabels; ++i) {
    (*job.job.mutable_labels())[absl::StrCat("label", i)] = std::string(kMaxLabelValueBytes, 'x');
  }
  constexpr int kJobs = 300;
  for (int i = 0; i < kJobs; ++i) ASSERT_OK(store().InsertJob(job));
  JobQuery query;
  query.page_size = kMaxPageSize;
  int seen = 0, pages = 0;
  do {
    const auto page = store().ListJobs(query);
    ASSERT_OK(page);
    size_t bytes = 0;
    for (const v1::Job& item : page->items) bytes += item.ByteSizeLong();
    EXPECT_LE(bytes, kMaxPageBytes);
    seen += static_cast<int>(page->items.size());
    ++pages;
    query.page_token = page->next_page_token;
  } while (!query.page_token.empty());
  EXPECT_EQ(seen, kJobs);
  EXPECT_GT(pages, 1);
}

TEST_P(JobsTest, UnknownNamesAreNotFoundAndBadOnesInvalid) {
  EXPECT_EQ(store().GetJob("jobs/none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store().GetJob("jobs/../x").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store().CancelJob("none", {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store().DeleteJob("none", false, {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store().ReadEvents("none", 0, 10).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store().WaitForEvents("none", 0, absl::ZeroDuration()).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_P(JobsTest, QueueRunsByPriorityThenSubmission) {
  for (const int priority : {0, 5, -5, 5, 0}) fixture_.Submit(priority);
  const auto queued = store().QueuedJobs(100);
  ASSERT_OK(queued);
  std::vector<std::string> names;
  for (const QueuedJob& job : *queued) names.push_back(job.name);
  EXPECT_THAT(names, ElementsAre("jobs/j2", "jobs/j4", "jobs/j1", "jobs/j5", "jobs/j3"));
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(fixture_.Get(names[i]).queue_position(), static_cast<int64_t>(i) + 1);
  }
  EXPECT_THAT(*store().QueuedJobs(2), SizeIs(2));
  EXPECT_THAT(*store().QueuedJobs(0), IsEmpty());
}

TEST_P(JobsTest, ListsArePagedInEveryOrder) {
  for (const int priority : {0, 5, -5, 5, 0}) fixture_.Submit(priority);
  for (const int page_size : {1, 2, 5, 6, 0}) {
    JobQuery query;
    query.page_size = page_size;
    EXPECT_THAT(List(query), ElementsAre("jobs/j5", "jobs/j4", "jobs/j3", "jobs/j2", "jobs/j1"));
    query.order = JobOrder::kOldestFirst;
    EXPECT_THAT(List(query), ElementsAre("jobs/j1", "jobs/j2", "jobs/j3", "jobs/j4", "jobs/j5"));
    query.order = JobOrder::kPriority;
    EXPECT_THAT(List(query), ElementsAre("jobs/j2", "jobs/j4", "jobs/j1", "jobs/j5", "jobs/j3"));
    query.filter.state = v1::JOB_STATE_QUEUED;
    EXPECT_THAT(List(query), ElementsAre("jobs/j2", "jobs/j4", "jobs/j1", "jobs/j5", "jobs/j3"));
  }
}

TEST_P(JobsTest, FiltersSelectByEachField) {
  NewJob job = StoreFixture::LoraJob();
  job.job.set_study("s1");
  job.job.set_display_name("one");
  (*job.job.mutable_labels())["team"] = "a";
  (*job.job.mutable_labels())["size"] = "b";
  ASSERT_OK(store().InsertJob(job));
  job.job.set_study("s2");
  (*job.job.mutable_labels())["team"] = "c";
  job.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_method()->mutable_last_layers();
  ASSERT_OK(store().InsertJob(job));
  ASSERT_OK(store().CancelJob("jobs/j2", {}));

  for (const JobOrder order :
       {JobOrder::kNewestFirst, JobOrder::kOldestFirst, JobOrder::kPriority}) {
    const auto with = [&](const std::string& text) {
      JobQuery query;
      query.order = order;
      query.filter = *ParseJobFilter(text);
      return List(query);
    };
    EXPECT_THAT(with("study = s1"), ElementsAre("jobs/j1"));
    EXPECT_THAT(with("state = CANCELLED"), ElementsAre("jobs/j2"));
    EXPECT_THAT(with("state = QUEUED"), ElementsAre("jobs/j1"));
    EXPECT_THAT(with("state = QUEUED AND study = s2"), IsEmpty());
    EXPECT_THAT(with("done = true"), ElementsAre("jobs/j2"));
    EXPECT_THAT(with("method = lora"), ElementsAre("jobs/j1"));
    EXPECT_THAT(with("method = lora+last_layers"), ElementsAre("jobs/j2"));
    EXPECT_THAT(with("base_model = gpt2"), SizeIs(2));
    EXPECT_THAT(with("base_model = gpt3"), IsEmpty());
    EXPECT_THAT(with("display_name = one"), SizeIs(2));
    EXPECT_THAT(with("labels.team = a"), ElementsAre("jobs/j1"));
    EXPECT_THAT(with("labels.size = b"), SizeIs(2));
    EXPECT_THAT(with("labels.size = b AND labels.team = c"), ElementsAre("jobs/j2"));
    EXPECT_THAT(with("labels.none = b"), IsEmpty());
  }
}

TEST_P(JobsTest, PageTokensOfAnotherListAreRefused) {
  for (int i = 0; i < 3; ++i) fixture_.Submit();
  JobQuery query;
  query.page_size = 1;
  const auto page = store().ListJobs(query);
  ASSERT_OK(page);
  ASSERT_FALSE(page->next_page_token.empty());
  query.page_token = page->next_page_token;
  query.order = JobOrder::kOldestFirst;
  EXPECT_EQ(store().ListJobs(query).status().code(), absl::StatusCode::kInvalidArgument);
  query.order = JobOrder::kNewestFirst;
  query.filter.study = "s";
  EXPECT_EQ(store().ListJobs(query).status().code(), absl::StatusCode::kInvalidArgument);
  query.filter = {};
  for (const std::string& token :
       {std::string("?"), std::string("YWJj"), std::string(kMaxPageTokenBytes + 1, 'a')}) {
    query.page_token = token;
    EXPECT_EQ(store().ListJobs(query).status().code(), absl::StatusCode::kInvalidArgument);
  }
  query.page_token.clear();
  query.page_size = -1;
  EXPECT_EQ(store().ListJobs(query).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(JobsTest, CancelEndsAQueuedJobAndLeavesFinishedOnesAlone) {
  fixture_.Submit();
  const auto cancelled = store().CancelJob("jobs/j1", {});
  ASSERT_OK(cancelled);
  EXPECT_EQ(cancelled->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_TRUE(cancelled->done());
  EXPECT_THAT(*store().QueuedJobs(10), IsEmpty());
  const auto again = store().CancelJob("jobs/j1", {});
  ASSERT_OK(again);
  EXPECT_EQ(again->DebugString(), cancelled->DebugString());
  EXPECT_THAT(fixture_.Events("jobs/j1"), SizeIs(2));
}

TEST_P(JobsTest, CancelOfARunningJobWaitsForItsWorker) {
  const LeaseRef lease = fixture_.Start(kWorker);
  const auto cancelling = store().CancelJob(lease.job, {"r", "b"});
  ASSERT_OK(cancelling);
  EXPECT_EQ(cancelling->state(), v1::JOB_STATE_CANCELLING);
  const auto renewals = store().RenewLeases(kWorker, {{lease.job, lease.lease_epoch}});
  ASSERT_OK(renewals);
  EXPECT_TRUE((*renewals)[0].cancel);
  ASSERT_OK(store().FinishAttempt(lease, 0, AttemptCancelled{}));
  EXPECT_EQ(fixture_.Get(lease.job).state(), v1::JOB_STATE_CANCELLED);
  // The same request answers what it answered.
  EXPECT_EQ(store().CancelJob(lease.job, {"r", "b"})->state(), v1::JOB_STATE_CANCELLING);
}

TEST_P(JobsTest, DeleteForgetsADoneJobAndItsAdapterOnlyIfTold) {
  const LeaseRef lease = fixture_.Start(kWorker);
  const auto early = store().DeleteJob(lease.job, false, {});
  EXPECT_EQ(ReasonOf(early.status()), kReasonNotDone);
  ASSERT_OK(store().FinishAttempt(lease, 0, StoreFixture::Success()));
  const auto deleted = store().DeleteJob(lease.job, false, {"r", "b"});
  ASSERT_OK(deleted);
  EXPECT_EQ(deleted->adapter, "");
  EXPECT_EQ(store().GetJob(lease.job).status().code(), absl::StatusCode::kNotFound);
  EXPECT_OK(store().GetAdapter("j1"));
  EXPECT_OK(store().DeleteJob(lease.job, false, {"r", "b"}));
  EXPECT_FALSE(*store().IsBlobReferenced(std::string(64, '8')));  // Its predictions.

  const LeaseRef second = fixture_.Start(kWorker);
  ASSERT_OK(store().FinishAttempt(second, 0, StoreFixture::Success()));
  EXPECT_EQ(store().DeleteJob(second.job, true, {})->adapter, "j2");
  EXPECT_EQ(store().GetAdapter("j2").status().code(), absl::StatusCode::kNotFound);
}

TEST_P(JobsTest, ListenersHearOfCommittedChangesInOrder) {
  Mutex mutex;
  CondVar told;
  std::vector<std::string> heard;
  std::vector<int64_t> of_one;
  auto all = store().Subscribe("", [&](const JobChange& change) {
    EXPECT_OK(store().GetJob(change.job));  // No lock is held.
    MutexLock lock(mutex);
    heard.push_back(absl::StrCat(change.job, " ", change.previous_state, ">", change.state));
    told.NotifyAll();
  });
  auto one = store().Subscribe(
      "jobs/j2", [&](const JobChange& change) { of_one.push_back(change.last_sequence); });
  fixture_.Submit();
  fixture_.Submit();
  ASSERT_OK(fixture_.ClaimNext(kWorker));
  ASSERT_OK(store().CancelJob("jobs/j2", {}));
  ASSERT_FALSE(store().CancelJob("jobs/none", {}).ok());
  {
    MutexLock lock(mutex);
    while (heard.size() < 4) told.Wait(mutex);
  }
  all.reset();
  one.reset();
  fixture_.Submit();
  EXPECT_THAT(heard, ElementsAre("jobs/j1 0>1", "jobs/j2 0>1", "jobs/j1 1>2", "jobs/j2 1>6"));
  EXPECT_THAT(of_one, ElementsAre(1, 2));
}

TEST_P(JobsTest, ListenerMayEndItsOwnSubscription) {
  std::unique_ptr<Subscription> subscription;
  int calls = 0;
  Mutex mutex;
  CondVar ended;
  subscription = store().Subscribe("", [&](const JobChange&) {
    subscription.reset();
    MutexLock lock(mutex);
    ++calls;
    ended.NotifyAll();
  });
  fixture_.Submit();
  MutexLock lock(mutex);
  while (calls == 0) ended.Wait(mutex);
}

TEST_P(JobsTest, WritesWaitForAListenerThatIsFarBehind) {
  Mutex mutex;
  CondVar changed;
  bool released = false;
  size_t told = 0;
  const std::thread::id here = std::this_thread::get_id();
  const auto subscription = store().Subscribe("", [&](const JobChange&) {
    EXPECT_NE(std::this_thread::get_id(), here);
    MutexLock lock(mutex);
    while (!released) changed.Wait(mutex);
    ++told;
    changed.NotifyAll();
  });
  // The listener has the first of them.
  for (size_t i = 0; i < kMaxUndelivered + 1; ++i) fixture_.Submit();
  std::thread releaser([&] {
    MutexLock lock(mutex);
    released = true;
    changed.NotifyAll();
  });
  fixture_.Submit();
  {
    MutexLock lock(mutex);
    EXPECT_GT(told, 0u);
    while (told < kMaxUndelivered + 2) changed.Wait(mutex);
  }
  releaser.join();
}

TEST_P(JobsTest, WaitReturnsAtOnceForKnownEventsAndEndedJobs) {
  fixture_.Submit();
  EXPECT_EQ(*store().WaitForEvents("jobs/j1", 0, absl::InfiniteDuration()), 1);
  EXPECT_EQ(*store().WaitForEvents("jobs/j1", 1, absl::ZeroDuration()), 1);
  ASSERT_OK(store().CancelJob("jobs/j1", {}));
  EXPECT_EQ(*store().WaitForEvents("jobs/j1", 2, absl::InfiniteDuration()), 2);
}

TEST_P(JobsTest, WaitIsWokenByAnEvent) {
  fixture_.Submit();
  std::thread canceller([&] { EXPECT_OK(store().CancelJob("jobs/j1", {})); });
  EXPECT_EQ(*store().WaitForEvents("jobs/j1", 1, absl::Minutes(1)), 2);
  canceller.join();
}

TEST_P(JobsTest, CountsAreThoseOfTheRows) {
  fixture_.Submit();
  fixture_.clock().Advance(absl::Seconds(10));
  fixture_.Submit();
  ASSERT_OK(fixture_.ClaimNext(kWorker));
  const auto counts = store().Counts();
  ASSERT_OK(counts);
  ASSERT_THAT(counts->jobs, SizeIs(2));
  EXPECT_EQ(counts->jobs[0].state, v1::JOB_STATE_QUEUED);
  EXPECT_EQ(counts->jobs[0].method, "lora");
  EXPECT_EQ(counts->jobs[0].count, 1);
  EXPECT_EQ(counts->events, 3);
  EXPECT_EQ(counts->datasets, 2);
  EXPECT_EQ(counts->models, 1);
  EXPECT_EQ(counts->adapters, 0);
  EXPECT_EQ(counts->oldest_queued, fixture_.clock().Now());
}

TEST_P(JobsTest, AJobWaitsSinceItWasQueuedLast) {
  EXPECT_EQ(store().Counts()->oldest_queued, absl::InfiniteFuture());
  EXPECT_EQ(store().Counts()->head_queued, absl::InfiniteFuture());
  fixture_.Submit();
  const auto claim = fixture_.ClaimNext(kWorker);
  ASSERT_OK(claim);
  fixture_.clock().Advance(absl::Hours(24));
  const absl::Time submitted = fixture_.clock().Now();
  fixture_.Submit();
  fixture_.clock().Advance(absl::Seconds(10));
  // It ran for a day and comes back before the other, which waits for 10 s.
  const absl::Time back = fixture_.clock().Now();
  ASSERT_OK(store().FinishAttempt({claim->job.name(), claim->lease_epoch, kWorker}, 0,
                                  AttemptFailed{{}, v1::FAILURE_CLASS_INFRASTRUCTURE}));
  fixture_.clock().Advance(absl::Seconds(5));
  EXPECT_EQ(FromTimestamp(fixture_.Get("jobs/j1").queue_time()), back);
  EXPECT_EQ(store().Counts()->oldest_queued, submitted);
  EXPECT_EQ(store().Counts()->head_queued, back);
  // Leased again, it has none.
  ASSERT_OK(fixture_.ClaimNext(kWorker));
  EXPECT_EQ(store().Counts()->head_queued, submitted);
}

TEST_P(JobsTest, ThePrioritisedJobIsTheHeadOfTheQueue) {
  fixture_.Submit();
  const absl::Time first = fixture_.clock().Now();
  fixture_.clock().Advance(absl::Seconds(10));
  fixture_.Submit(/*priority=*/5);
  EXPECT_EQ(store().Counts()->oldest_queued, first);
  EXPECT_EQ(store().Counts()->head_queued, fixture_.clock().Now());
}

TEST_P(JobsTest, AChangeToFailedSaysOfWhatClass) {
  fixture_.Submit();
  const auto claim = fixture_.ClaimNext(kWorker);
  ASSERT_OK(claim);
  std::promise<v1::FailureClass> told;
  const auto subscription = store().Subscribe("", [&](const JobChange& change) {
    if (change.state == v1::JOB_STATE_FAILED) told.set_value(change.failure_class);
  });
  ASSERT_OK(store().FinishAttempt({claim->job.name(), claim->lease_epoch, kWorker}, 0,
                                  AttemptFailed{{}, v1::FAILURE_CLASS_DATA}));
  EXPECT_EQ(told.get_future().get(), v1::FAILURE_CLASS_DATA);
}

}  // namespace
}  // namespace graft
