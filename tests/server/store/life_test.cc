#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class LifeTest : public StoreTest {
 protected:
  static void ExpectWrongState(const absl::Status& status, const std::string& why) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(ReasonOf(status), kReasonWrongState);
    EXPECT_THAT(status.message(), HasSubstr(why));
  }
  std::vector<std::string> Queue() {
    std::vector<std::string> names;
    const auto queued = store().QueuedJobs(10);
    EXPECT_OK(queued);
    for (const QueuedJob& job : *queued) names.push_back(job.name);
    return names;
  }
  void Save(const LeaseRef& lease, int64_t step, char digit) {
    NewCheckpoint checkpoint = {step, {StoreFixture::File("state", digit)}, {}};
    checkpoint.execution.set_device("cpu");
    checkpoint.execution.set_cpu_capability("AVX2");
    checkpoint.execution.set_precision("fp32");
    ASSERT_OK(store().CommitCheckpoint(lease, checkpoint));
  }
  // With the options as they are now.
  void OpenAnew() {
    fixture_.Reopen();
    if (GetParam() == StoreKind::kMemory) StoreFixture::Fill(store());
  }
  v1::JobState StateOf(const std::string& job) { return fixture_.Get(job).state(); }
  int64_t Wanted(const LeaseRef& lease) {
    return (*store().RenewLeases(lease.worker, {{lease.job, lease.lease_epoch}}))[0]
        .checkpoint_step;
  }
  bool Named(char digit) { return *store().IsBlobReferenced(std::string(64, digit)); }
};
INSTANTIATE_ON_EVERY_STORE(LifeTest);

TEST_P(LifeTest, AQueuedJobIsPausedAtOnceAndComesBackToItsPlace) {
  fixture_.Submit();
  fixture_.Submit();
  const auto paused = store().PauseJob("jobs/j1", {"r1", "b"});
  ASSERT_OK(paused);
  EXPECT_EQ(paused->state(), v1::JOB_STATE_PAUSED);
  EXPECT_FALSE(paused->done());
  EXPECT_THAT(Queue(), ElementsAre("jobs/j2"));
  ExpectWrongState(store().PauseJob("jobs/j1", {}).status(), "ResumeJob lets it go on");
  EXPECT_OK(store().PauseJob("jobs/j1", {"r1", "b"})) << "the same request";
  const auto resumed = store().ResumeJob("jobs/j1", {});
  ASSERT_OK(resumed);
  EXPECT_EQ(resumed->state(), v1::JOB_STATE_QUEUED);
  EXPECT_THAT(Queue(), ElementsAre("jobs/j1", "jobs/j2"));
  ExpectWrongState(store().ResumeJob("jobs/j1", {}).status(), "it is not paused");
  EXPECT_EQ(store().PauseJob("jobs/none", {}).status().code(), absl::StatusCode::kNotFound);
  // Over a restart, too.
  ASSERT_OK(store().PauseJob("jobs/j1", {}));
  if (GetParam() == StoreKind::kSqlite) fixture_.Reopen();
  EXPECT_EQ(StateOf("jobs/j1"), v1::JOB_STATE_PAUSED);
  EXPECT_THAT(Queue(), ElementsAre("jobs/j2"));
}

TEST_P(LifeTest, ARunningJobIsPausedByItsWorkerAndGoesOnFromItsCheckpoint) {
  const LeaseRef lease = fixture_.Start(kWorker);
  Save(lease, 3, '3');
  const auto pausing = store().PauseJob(lease.job, {});
  ASSERT_OK(pausing);
  EXPECT_EQ(pausing->state(), v1::JOB_STATE_PAUSING);
  ExpectWrongState(store().PauseJob(lease.job, {}).status(), "at the end of its step");
  ExpectWrongState(store().ResumeJob(lease.job, {}).status(), "once it is PAUSED");
  ExpectWrongState(store().CheckpointJob(lease.job, {}).status(), "before it is PAUSED");
  EXPECT_EQ(ReasonOf(store().DeleteJob(lease.job, false, {}).status()), kReasonNotDone);
  const auto renewals = store().RenewLeases(kWorker, {{lease.job, lease.lease_epoch}});
  ASSERT_OK(renewals);
  EXPECT_TRUE((*renewals)[0].held);
  EXPECT_TRUE((*renewals)[0].pause);
  EXPECT_FALSE((*renewals)[0].cancel);
  Save(lease, 5, '5');
  EXPECT_EQ(*store().FinishAttempt(lease, 0, AttemptPaused{}), v1::JOB_STATE_PAUSED);
  EXPECT_EQ(*store().FinishAttempt(lease, 0, AttemptPaused{}), v1::JOB_STATE_PAUSED) << "again";
  const v1::Job paused = fixture_.Get(lease.job);
  EXPECT_EQ(paused.state_reason(), "paused after step 5");
  EXPECT_EQ(paused.step(), 5);
  EXPECT_THAT(Queue(), IsEmpty());
  EXPECT_THAT(*store().ListLeases(), IsEmpty());
  // It keeps what it needs.
  EXPECT_EQ(ReasonOf(store().DeleteDataset("train")), kReasonInUse);
  EXPECT_TRUE(Named('5'));

  const auto resumed = store().ResumeJob(lease.job, {});
  ASSERT_OK(resumed);
  EXPECT_EQ(resumed->state_reason(), "asked to resume; resumes from step 5");
  const auto claim = fixture_.ClaimNext(kOtherWorker);
  ASSERT_OK(claim);
  EXPECT_EQ(claim->checkpoint_step, 5);
  EXPECT_EQ(claim->attempt, 2);
  ASSERT_OK(
      store().FinishAttempt(fixture_.LeaseOf(*claim, kOtherWorker), 0, StoreFixture::Success()));
  EXPECT_EQ(StateOf(lease.job), v1::JOB_STATE_SUCCEEDED);
  ExpectWrongState(store().PauseJob(lease.job, {}).status(), "only a job that is not done");
}

TEST_P(LifeTest, APausingJobEndsAsWhateverHappensToIt) {
  const auto pausing = [&] {
    const LeaseRef lease = fixture_.Start(kWorker);
    EXPECT_OK(store().PauseJob(lease.job, {}));
    return lease;
  };
  EXPECT_EQ(*store().FinishAttempt(pausing(), 0, StoreFixture::Success()), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(
      *store().FinishAttempt(pausing(), 0, StoreFixture::Failure(v1::FAILURE_CLASS_DATA, "row 3")),
      v1::JOB_STATE_FAILED);
  EXPECT_EQ(*store().FinishAttempt(
                pausing(), 0, StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "signal 9")),
            v1::JOB_STATE_PAUSED);
  const LeaseRef returned = pausing();
  EXPECT_EQ(*store().FinishAttempt(returned, 0, AttemptReturned{}), v1::JOB_STATE_PAUSED);
  EXPECT_FALSE(fixture_.Events(returned.job).back().state_change().has_error()) << "no failure";
  EXPECT_EQ(*store().FinishAttempt(pausing(), 0, AttemptCancelled{}), v1::JOB_STATE_PAUSED);

  const LeaseRef lost = pausing();
  fixture_.clock().Advance(absl::Seconds(61));
  EXPECT_THAT(*store().ExpireLeases(), ElementsAre(lost.job));
  EXPECT_EQ(StateOf(lost.job), v1::JOB_STATE_PAUSED);
  EXPECT_THAT(fixture_.Get(lost.job).state_reason(),
              HasSubstr("begins anew when it is resumed; lease of worker w-1"));

  const LeaseRef cancelled = pausing();
  EXPECT_EQ(store().CancelJob(cancelled.job, {})->state(), v1::JOB_STATE_CANCELLING);
  EXPECT_EQ(*store().FinishAttempt(cancelled, 0, AttemptPaused{}), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(store().CancelJob(lost.job, {})->state(), v1::JOB_STATE_CANCELLED);
}

TEST_P(LifeTest, ACancelMayWaitForACheckpointUntilItIsToldNotTo) {
  const LeaseRef lease = fixture_.Start(kWorker);
  const auto renewal = [&] {
    return (*store().RenewLeases(kWorker, {{lease.job, lease.lease_epoch}}))[0];
  };
  const auto cancelling = store().SaveAndCancelJob(lease.job, {});
  ASSERT_OK(cancelling);
  EXPECT_EQ(cancelling->state(), v1::JOB_STATE_CANCELLING);
  EXPECT_TRUE(cancelling->cancel_saves());
  EXPECT_TRUE(renewal().cancel);
  EXPECT_TRUE(renewal().cancel_saves);
  if (GetParam() == StoreKind::kSqlite) fixture_.Reopen();
  EXPECT_TRUE(renewal().cancel_saves);

  EXPECT_FALSE(store().CancelJob(lease.job, {})->cancel_saves());
  EXPECT_TRUE(renewal().cancel);
  EXPECT_FALSE(renewal().cancel_saves);
  EXPECT_FALSE(store().SaveAndCancelJob(lease.job, {})->cancel_saves()) << "it stops already";
  EXPECT_EQ(*store().FinishAttempt(lease, 0, AttemptCancelled{}), v1::JOB_STATE_CANCELLED);

  // Of one that is to be paused, too; and when it is over nothing is left to save.
  const LeaseRef pausing = fixture_.Start(kWorker);
  ASSERT_OK(store().PauseJob(pausing.job, {}));
  EXPECT_TRUE(store().SaveAndCancelJob(pausing.job, {})->cancel_saves());
  Save(pausing, 5, '5');
  EXPECT_EQ(*store().FinishAttempt(pausing, 0, AttemptCancelled{}), v1::JOB_STATE_CANCELLED);
  EXPECT_FALSE(fixture_.Get(pausing.job).cancel_saves());
  EXPECT_EQ(store().RetryJob(pausing.job, false, {})->step(), 5);

  const v1::Job queued = fixture_.Submit();
  EXPECT_EQ(store().SaveAndCancelJob(queued.name(), {})->state(), v1::JOB_STATE_CANCELLED);
}

TEST_P(LifeTest, ResumingAsksForRoomInTheQueue) {
  fixture_.options().max_queued_jobs = 1;
  OpenAnew();
  const LeaseRef lease = fixture_.Start(kWorker);
  ASSERT_OK(store().PauseJob(lease.job, {}));
  ASSERT_OK(store().FinishAttempt(lease, 0, AttemptPaused{}));
  fixture_.Submit();
  EXPECT_EQ(ReasonOf(store().ResumeJob(lease.job, {}).status()), kReasonQueueFull);
  EXPECT_EQ(StateOf(lease.job), v1::JOB_STATE_PAUSED);
}

TEST_P(LifeTest, ACheckpointIsAskedForUntilItIsCommitted) {
  const LeaseRef lease = fixture_.Start(kWorker);
  const auto asked = store().CheckpointJob(lease.job, {});
  ASSERT_OK(asked);
  EXPECT_EQ(asked->requested_checkpoint_step(), 1);
  ASSERT_OK(store().CheckpointJob(lease.job, {}));
  EXPECT_EQ(Wanted(lease), 1);
  Save(lease, 1, '1');
  EXPECT_EQ(Wanted(lease), 0);
  // One that was on its way already is no answer.
  EventBatch batch = StoreFixture::Batch(1, {StoreFixture::LossEvent(4, 1)});
  batch.stage = v1::JOB_STAGE_TRAINING;
  batch.step = 4;
  ASSERT_OK(store().AppendEvents(lease, batch));
  ASSERT_OK(store().CheckpointJob(lease.job, {}));
  Save(lease, 3, '3');
  EXPECT_EQ(Wanted(lease), 5);
  Save(lease, 6, '6');
  EXPECT_EQ(Wanted(lease), 0);
  // Nobody asks the next attempt for one that was asked of this one.
  ASSERT_OK(store().CheckpointJob(lease.job, {}));
  ASSERT_OK(store().FinishAttempt(lease, 0, AttemptReturned{}));
  EXPECT_EQ(fixture_.Get(lease.job).requested_checkpoint_step(), 0);
  ExpectWrongState(store().CheckpointJob(lease.job, {}).status(), "only a RUNNING job");

  NewJob evaluation;
  v1::EvaluateSpec& spec = *evaluation.job.mutable_resolved_spec()->mutable_evaluate();
  spec.set_base_model("gpt2");
  spec.set_base_model_sha256(std::string(64, 'a'));
  ASSERT_OK(store().InsertJob(evaluation));
  ASSERT_OK(fixture_.ClaimNext(kWorker));
  ExpectWrongState(store().CheckpointJob("jobs/j2", {}).status(), "an evaluation saves by itself");
}

TEST_P(LifeTest, ARetryIsANewJobThatGoesOnFromTheNewestCheckpoint) {
  NewJob submitted = StoreFixture::LoraJob(7);
  submitted.job.set_display_name("mine");
  (*submitted.job.mutable_labels())["who"] = "anna";
  ASSERT_OK(store().InsertJob(submitted));
  const auto claim = fixture_.ClaimNext(kWorker);
  ASSERT_OK(claim);
  const LeaseRef lease = fixture_.LeaseOf(*claim, kWorker);
  ExpectWrongState(store().RetryJob("jobs/j1", false, {}).status(), "FAILED or was CANCELLED");
  Save(lease, 3, '3');
  Save(lease, 5, '5');
  ASSERT_OK(store().FinishAttempt(lease, 0, StoreFixture::Failure(v1::FAILURE_CLASS_DATA, "no")));
  EXPECT_FALSE(Named('3'));

  const auto retry = store().RetryJob("jobs/j1", false, {"r", "b"});
  ASSERT_OK(retry);
  EXPECT_EQ(retry->name(), "jobs/j2");
  EXPECT_EQ(retry->retry_of(), "jobs/j1");
  EXPECT_EQ(retry->state_reason(), "retry of jobs/j1; goes on from step 5");
  EXPECT_EQ(retry->display_name(), "mine");
  EXPECT_EQ(retry->labels().at("who"), "anna");
  EXPECT_EQ(retry->priority(), 7);
  // What a checkpoint is bound to holds: spec, output and machine.
  EXPECT_EQ(retry->resolved_spec().fine_tune().output_name(), "j1");
  EXPECT_EQ(fixture_.Needs("jobs/j2").cpu_capability, "AVX2");
  EXPECT_EQ(store().RetryJob("jobs/j1", false, {"r", "b"})->name(), "jobs/j2");
  EXPECT_EQ(ReasonOf(store().RetryJob("jobs/j1", false, {}).status()), kReasonNameTaken);
  // It has the checkpoint itself.
  ASSERT_OK(store().DeleteJob("jobs/j1", false, {}));
  EXPECT_TRUE(Named('5'));
  const auto again = fixture_.ClaimNext(kWorker);
  ASSERT_OK(again);
  EXPECT_EQ(again->job.name(), "jobs/j2");
  EXPECT_EQ(again->checkpoint_step, 5);
  EXPECT_THAT(again->checkpoint, SizeIs(1));
  ASSERT_OK(store().FinishAttempt(fixture_.LeaseOf(*again, kWorker), 0, StoreFixture::Success()));
  EXPECT_EQ(store().GetAdapter("j1")->job(), "jobs/j2");
  EXPECT_TRUE(Named('5')) << "it may be trained further";
  ExpectWrongState(store().RetryJob("jobs/j2", false, {}).status(), "init_from");
}

TEST_P(LifeTest, AJobGoesOnFromAnothersCheckpointWhichItHoldsItself) {
  const LeaseRef lease = fixture_.Start(kWorker);
  Save(lease, 3, '3');
  Save(lease, 5, '5');
  NewJob job = StoreFixture::LoraJob();
  job.request = {"r", "b"};
  v1::FineTuneSpec& spec = *job.job.mutable_resolved_spec()->mutable_fine_tune();
  spec.set_init_from("jobs/j1/checkpoints/3");
  EXPECT_OK(store().CheckJob(job));
  const auto next = store().InsertJob(job);
  ASSERT_OK(next);
  EXPECT_EQ(next->state_reason(), "submitted; goes on from step 3 of jobs/j1");
  EXPECT_EQ(next->step(), 3);
  EXPECT_EQ(fixture_.Needs(next->name()).cpu_capability, "AVX2");
  const auto own = store().ListCheckpoints(next->name());
  ASSERT_OK(own);
  ASSERT_THAT(*own, SizeIs(1));
  EXPECT_EQ((*own)[0].name(), next->name() + "/checkpoints/3");
  EXPECT_EQ((*own)[0].attempt(), 0);
  EXPECT_EQ((*own)[0].size_bytes(), 100);
  // Whatever becomes of the other one.
  Save(lease, 7, '9');
  ASSERT_OK(store().FinishAttempt(lease, 0, StoreFixture::Success()));
  EXPECT_THAT(*store().ListCheckpoints("jobs/j1"), SizeIs(1));
  ASSERT_OK(store().DeleteJob("jobs/j1", false, {}));
  EXPECT_TRUE(Named('3'));
  EXPECT_FALSE(Named('9'));
  const auto claim = fixture_.ClaimNext(kWorker);
  ASSERT_OK(claim);
  EXPECT_EQ(claim->checkpoint_step, 3);
  EXPECT_THAT(claim->checkpoint, SizeIs(1));
  EXPECT_EQ(store().InsertJob(job)->name(), next->name()) << "the same request is answered alike";
}

TEST_P(LifeTest, ACheckpointThatIsNotThereIsNamedWithThoseThatAre) {
  const LeaseRef lease = fixture_.Start(kWorker);
  Save(lease, 3, '3');
  Save(lease, 5, '5');
  const auto refused = [&](const std::string& init_from) {
    NewJob job = StoreFixture::LoraJob();
    job.job.mutable_resolved_spec()->mutable_fine_tune()->set_init_from(init_from);
    const absl::Status status = store().InsertJob(job).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(store().CheckJob(job), status);
    return std::string(status.message());
  };
  EXPECT_THAT(refused("jobs/j1/checkpoints/4"),
              HasSubstr("init_from: jobs/j1 has no checkpoint of step 4; it has 5, 3"));
  EXPECT_THAT(refused("jobs/nobody/checkpoints/4"), HasSubstr("there is no jobs/nobody"));
  fixture_.Submit();
  EXPECT_THAT(refused("jobs/j2/checkpoints/1"),
              HasSubstr("no checkpoint of step 1, nor any other"));
  EXPECT_EQ(store().ListCheckpoints("jobs/nobody").status().code(), absl::StatusCode::kNotFound);
}

TEST_P(LifeTest, ARetryOfAJobThatWentOnBeginsWhereThatBegan) {
  const LeaseRef first = fixture_.Start(kWorker);
  Save(first, 3, '3');
  NewJob job = StoreFixture::LoraJob();
  job.job.mutable_resolved_spec()->mutable_fine_tune()->set_init_from("jobs/j1/checkpoints/3");
  ASSERT_OK(store().InsertJob(job));
  const auto claim = fixture_.ClaimNext(kWorker);
  ASSERT_OK(claim);
  const LeaseRef lease = fixture_.LeaseOf(*claim, kWorker);
  Save(lease, 8, '8');
  ASSERT_OK(store().FinishAttempt(lease, 0, StoreFixture::Failure(v1::FAILURE_CLASS_DATA, "no")));
  const auto anew = store().RetryJob("jobs/j2", /*from_scratch=*/true, {});
  ASSERT_OK(anew);
  EXPECT_EQ(anew->state_reason(), "retry of jobs/j2; goes on from step 3");
  ASSERT_OK(store().CancelJob(anew->name(), {}));
  ASSERT_OK(store().FinishAttempt(first, 0, StoreFixture::Failure(v1::FAILURE_CLASS_DATA, "no")));
  ASSERT_OK(store().DeleteJob("jobs/j1", false, {}));
  EXPECT_EQ(store().RetryJob("jobs/j2", /*from_scratch=*/true, {}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(store().RetryJob("jobs/j2", false, {})->step(), 8);
}

TEST_P(LifeTest, ARetryFromScratchBeginsAnewAndOneOfAGoneDataSetIsRefused) {
  const LeaseRef lease = fixture_.Start(kWorker);
  Save(lease, 3, '3');
  ASSERT_OK(store().CancelJob(lease.job, {}));
  ASSERT_OK(store().FinishAttempt(lease, 0, AttemptCancelled{}));
  const auto retry = store().RetryJob(lease.job, true, {});
  ASSERT_OK(retry);
  EXPECT_EQ(retry->state_reason(), "retry of jobs/j1; begins anew");
  EXPECT_EQ(fixture_.ClaimNext(kWorker)->checkpoint_step, 0);
  ASSERT_OK(store().CancelJob(retry->name(), {}));
  fixture_.clock().Advance(absl::Seconds(61));
  ASSERT_OK(store().ExpireLeases());
  ASSERT_OK(store().DeleteDataset("train"));
  EXPECT_EQ(store().RetryJob(lease.job, false, {}).status().code(), absl::StatusCode::kNotFound);
}

TEST_P(LifeTest, ForARetryOnlyWhatIsBeyondItsCheckpointIsProgress) {
  const LeaseRef lease = fixture_.Start(kWorker);
  Save(lease, 5, '5');
  ASSERT_OK(store().FinishAttempt(lease, 0, StoreFixture::Failure(v1::FAILURE_CLASS_DATA, "no")));
  ASSERT_OK(store().RetryJob(lease.job, false, {}));
  auto claim = fixture_.ClaimNext(kWorker);
  ASSERT_OK(claim);
  const AttemptFailed lost = StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "signal 9");
  ASSERT_OK(store().FinishAttempt(fixture_.LeaseOf(*claim, kWorker), 0, lost));
  fixture_.clock().Advance(absl::Minutes(1));
  claim = fixture_.ClaimNext(kWorker);
  ASSERT_OK(claim);
  Save(fixture_.LeaseOf(*claim, kWorker), 3, '3');
  ASSERT_OK(store().FinishAttempt(fixture_.LeaseOf(*claim, kWorker), 0, lost));
  EXPECT_THAT(fixture_.Get("jobs/j2").state_reason(), HasSubstr("2 of 20 without progress"));
}

TEST_P(LifeTest, CheckpointsOfFailedJobsAreKeptForAWhile) {
  fixture_.options().checkpoint_lifetime = absl::Hours(2);
  OpenAnew();
  const LeaseRef lease = fixture_.Start(kWorker);
  Save(lease, 3, '3');
  ASSERT_OK(store().FinishAttempt(lease, 0, StoreFixture::Failure(v1::FAILURE_CLASS_DATA, "no")));
  const LeaseRef running = fixture_.Start(kWorker);
  Save(running, 4, '4');
  fixture_.clock().Advance(absl::Minutes(119));
  EXPECT_EQ(*store().PruneCheckpoints(), 0);
  EXPECT_TRUE(Named('3'));
  fixture_.clock().Advance(absl::Minutes(2));
  EXPECT_EQ(*store().PruneCheckpoints(), 1);
  EXPECT_FALSE(Named('3'));
  EXPECT_TRUE(Named('4')) << "of a job that is not done";
  EXPECT_EQ(store().RetryJob(lease.job, false, {})->state_reason(),
            "retry of jobs/j1; begins anew");
}

TEST_P(LifeTest, AnUpdateChangesWhatItNamesAndWhereTheJobStands) {
  for (int i = 0; i < 3; ++i) fixture_.Submit();
  JobUpdate update;
  update.priority = 5;
  update.display_name = "urgent";
  update.labels = {{"a", "1"}, {"b", "2"}};
  const auto updated = store().UpdateJob("jobs/j3", update, {"r", "b"});
  ASSERT_OK(updated);
  EXPECT_EQ(updated->priority(), 5);
  EXPECT_EQ(updated->display_name(), "urgent");
  EXPECT_THAT(Queue(), ElementsAre("jobs/j3", "jobs/j1", "jobs/j2"));
  EXPECT_EQ(fixture_.Get("jobs/j3").queue_position(), 1);
  EXPECT_EQ(fixture_.Get("jobs/j2").queue_position(), 3);
  JobQuery query;
  query.filter.labels["b"] = "2";
  EXPECT_THAT(store().ListJobs(query)->items, SizeIs(1));
  query = {};
  query.filter.display_name = "urgent";
  EXPECT_THAT(store().ListJobs(query)->items, SizeIs(1));

  JobUpdate less;
  less.priority = -1;
  less.labels = {{"a", std::nullopt}, {"c", "3"}};
  const auto lessened = store().UpdateJob("jobs/j3", less, {});
  ASSERT_OK(lessened);
  EXPECT_EQ(lessened->display_name(), "urgent");
  EXPECT_THAT(lessened->labels(), SizeIs(2));
  EXPECT_THAT(Queue(), ElementsAre("jobs/j1", "jobs/j2", "jobs/j3"));
  for (int place = 1; place <= 3; ++place) {
    EXPECT_EQ(fixture_.Get(absl::StrCat("jobs/j", place)).queue_position(), place);
  }
  query = {};
  query.filter.labels["a"] = "1";
  EXPECT_THAT(store().ListJobs(query)->items, IsEmpty());
  // Whoever is first is claimed first, and the counts are those of the rows.
  EXPECT_EQ(fixture_.ClaimNext(kWorker)->job.name(), "jobs/j1");
  EXPECT_EQ(fixture_.Get("jobs/j3").queue_position(), 2);
  EXPECT_EQ(store().UpdateJob("jobs/j3", update, {"r", "b"})->priority(), 5) << "the same request";
  EXPECT_EQ(fixture_.Get("jobs/j3").priority(), -1);
}

TEST_P(LifeTest, UpdatesThatCannotBeAreRefusedAndChangeNothing) {
  const v1::Job job = fixture_.Submit();
  JobUpdate update;
  update.etag = "999";
  update.priority = 3;
  const absl::Status stale = store().UpdateJob("jobs/j1", update, {}).status();
  EXPECT_EQ(stale.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(stale), kReasonVersionChanged);
  update.etag = job.etag();
  ASSERT_OK(store().UpdateJob("jobs/j1", update, {}));
  JobUpdate labels;
  for (int i = 0; i < 65; ++i) labels.labels[absl::StrCat("k", i)] = "v";
  EXPECT_EQ(store().UpdateJob("jobs/j1", labels, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(fixture_.Get("jobs/j1").labels(), IsEmpty());
  ASSERT_OK(store().CancelJob("jobs/j1", {}));
  update.etag.clear();
  ExpectWrongState(store().UpdateJob("jobs/j1", update, {}).status(), "priority");
  JobUpdate name;
  name.display_name = "kept";
  name.clear_labels = true;
  EXPECT_EQ(store().UpdateJob("jobs/j1", name, {})->display_name(), "kept");
}

}  // namespace
}  // namespace graft
