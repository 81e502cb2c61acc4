// Deadlines of jobs, which go by the date.

#include "common/base/mutex.h"
#include "common/jobs/timestamps.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Hears of changes: of those before it, too, that were not told yet.
class NextChange {
 public:
  explicit NextChange(JobStore& store)
      : subscription_(store.Subscribe("", [this](const JobChange& change) {
          MutexLock lock(mutex_);
          changes_.push_back(change);
          heard_.NotifyAll();
        })) {}
  // The next one after which the job is FAILED, or is what it was before.
  JobChange Wait() {
    MutexLock lock(mutex_);
    for (;; ++taken_) {
      while (changes_.size() == taken_) heard_.Wait(mutex_);
      const JobChange& change = changes_[taken_];
      const bool stays = change.state == change.previous_state;
      if (change.state == v1::JOB_STATE_FAILED || stays) return changes_[taken_++];
    }
  }

 private:
  Mutex mutex_;
  CondVar heard_;
  std::vector<JobChange> changes_ ABSL_GUARDED_BY(mutex_);
  size_t taken_ ABSL_GUARDED_BY(mutex_) = 0;
  const std::unique_ptr<Subscription> subscription_;
};

class DeadlineTest : public StoreTest {
 protected:
  absl::Time In(absl::Duration time) { return fixture_.clock().Now() + time; }
  absl::StatusOr<v1::Job> Submit(absl::Time deadline) {
    NewJob job = StoreFixture::LoraJob();
    *job.job.mutable_deadline() = ToTimestamp(deadline);
    return store().InsertJob(job);
  }
  void ExpectOverdue(const std::string& name, const std::string& state) {
    const v1::Job job = fixture_.Get(name);
    EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
    EXPECT_TRUE(job.done());
    EXPECT_EQ(job.failure_class(), v1::FAILURE_CLASS_DEADLINE);
    EXPECT_EQ(job.error().code(), static_cast<int>(absl::StatusCode::kDeadlineExceeded));
    EXPECT_THAT(job.error().message(), HasSubstr("came while it was " + state));
    EXPECT_EQ(fixture_.Events(name).back().state_change().to(), v1::JOB_STATE_FAILED);
  }
};
INSTANTIATE_ON_EVERY_STORE(DeadlineTest);

TEST_P(DeadlineTest, EndsAJobInWhateverStateItIs) {
  for (int i = 0; i < 5; ++i) ASSERT_OK(Submit(In(absl::Hours(1))));
  const auto claim = [&] {
    const auto claimed = fixture_.ClaimNext(kWorker);
    EXPECT_OK(claimed);
    return fixture_.LeaseOf(*claimed, kWorker);
  };
  const LeaseRef running = claim(), pausing = claim(), cancelling = claim();
  ASSERT_OK(store().PauseJob(pausing.job, {}));
  ASSERT_OK(store().CancelJob(cancelling.job, {}));
  ASSERT_OK(store().PauseJob("jobs/j4", {}));
  ASSERT_OK(store().CommitCheckpoint(running, {3, {StoreFixture::File("state", '3')}, {}}));
  EXPECT_EQ(*store().NextDeadline(), In(absl::Hours(1)));
  fixture_.clock().Advance(absl::Hours(1) - absl::Seconds(1));
  EXPECT_THAT(*store().EndOverdue(), IsEmpty());
  fixture_.clock().Advance(absl::Seconds(1));
  EXPECT_THAT(*store().EndOverdue(),
              ElementsAre("jobs/j1", "jobs/j2", "jobs/j3", "jobs/j4", "jobs/j5"));
  ExpectOverdue("jobs/j1", "RUNNING");
  ExpectOverdue("jobs/j2", "PAUSING");
  ExpectOverdue("jobs/j3", "CANCELLING");
  ExpectOverdue("jobs/j4", "PAUSED");
  ExpectOverdue("jobs/j5", "QUEUED");
  EXPECT_EQ(*store().NextDeadline(), absl::InfiniteFuture());
  EXPECT_THAT(*store().EndOverdue(), IsEmpty());
  // Nobody holds it any more, and what the worker says of it is not taken.
  EXPECT_THAT(*store().ListLeases(), IsEmpty());
  EXPECT_TRUE(fixture_.Get("jobs/j1").attempts(0).has_end_time());
  EXPECT_EQ(ReasonOf(store().FinishAttempt(running, 0, StoreFixture::Success()).status()),
            kReasonStaleLease);
  // It can go on, with no deadline.
  const auto retry = store().RetryJob("jobs/j1", false, {});
  ASSERT_OK(retry);
  EXPECT_FALSE(retry->has_deadline());
  EXPECT_EQ(retry->step(), 3);
}

TEST_P(DeadlineTest, WhoHeldTheJobIsTold) {
  ASSERT_OK(Submit(In(absl::Hours(1))));
  const auto claimed = fixture_.ClaimNext(kWorker);
  ASSERT_OK(claimed);
  NextChange heard(store());
  fixture_.clock().Advance(absl::Hours(1));
  ASSERT_OK(store().EndOverdue());
  const JobChange change = heard.Wait();
  EXPECT_EQ(change.state, v1::JOB_STATE_FAILED);
  EXPECT_EQ(change.failure_class, v1::FAILURE_CLASS_DEADLINE);
  EXPECT_EQ(change.worker, kWorker.id);
  EXPECT_EQ(change.lease_epoch, claimed->lease_epoch);
}

TEST_P(DeadlineTest, OneThatHasPassedIsRefused) {
  const auto late = Submit(In(-absl::Seconds(1)));
  EXPECT_EQ(late.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(late.status().message(), HasSubstr("job.deadline: has passed"));
  NewJob job = StoreFixture::LoraJob();
  *job.job.mutable_deadline() = ToTimestamp(In(-absl::Seconds(1)));
  EXPECT_EQ(store().CheckJob(job).code(), absl::StatusCode::kInvalidArgument);
  fixture_.Submit();
  JobUpdate update;
  update.deadline = In(absl::ZeroDuration());
  EXPECT_EQ(store().UpdateJob("jobs/j1", update, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(DeadlineTest, IsChangedAndTakenAway) {
  ASSERT_OK(Submit(In(absl::Hours(1))));
  NextChange heard(store());
  JobUpdate update;
  update.deadline = In(absl::Hours(3));
  ASSERT_OK(store().UpdateJob("jobs/j1", update, {}));
  EXPECT_TRUE(heard.Wait().schedule_changed);
  fixture_.clock().Advance(absl::Hours(2));
  EXPECT_THAT(*store().EndOverdue(), IsEmpty());
  EXPECT_EQ(*store().NextDeadline(), In(absl::Hours(1)));
  update.deadline = absl::InfiniteFuture();
  const auto free = store().UpdateJob("jobs/j1", update, {});
  ASSERT_OK(free);
  EXPECT_TRUE(heard.Wait().schedule_changed);
  EXPECT_FALSE(free->has_deadline());
  fixture_.clock().Advance(absl::Hours(2));
  EXPECT_THAT(*store().EndOverdue(), IsEmpty());
  update = {};
  update.display_name = "mine";
  ASSERT_OK(store().UpdateJob("jobs/j1", update, {}));
  EXPECT_FALSE(heard.Wait().schedule_changed);
}

TEST_P(DeadlineTest, GoesByTheDateAndNotByTheTimeSinceBoot) {
  ASSERT_OK(Submit(In(absl::Hours(1))));
  fixture_.clock().MoveWallClock(absl::Hours(2));
  EXPECT_THAT(*store().EndOverdue(), ElementsAre("jobs/j1"));
}

TEST_P(DeadlineTest, AJobThatIsDoneHasNoneToMiss) {
  ASSERT_OK(Submit(In(absl::Hours(1))));
  ASSERT_OK(store().CancelJob("jobs/j1", {}));
  EXPECT_EQ(*store().NextDeadline(), absl::InfiniteFuture());
  JobUpdate update;
  update.deadline = In(absl::Hours(3));
  EXPECT_EQ(ReasonOf(store().UpdateJob("jobs/j1", update, {}).status()), kReasonWrongState);
}

}  // namespace
}  // namespace graft
