// Which checkpoints stay, what people do with them, and what attempts leave beside them.

#include "common/jobs/timestamps.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CheckpointsTest : public StoreTest {
 protected:
  // A claimed job that keeps the newest two and `keep_best`.
  LeaseRef Start(int keep_best, absl::string_view metric = "", bool allow_migration = false) {
    NewJob job = StoreFixture::LoraJob();
    job.job.set_allow_migration(allow_migration);
    v1::TrainingSpec& training =
        *job.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_training();
    training.mutable_checkpoint()->set_keep_best(keep_best);
    training.mutable_early_stopping()->set_metric(std::string(metric));
    EXPECT_OK(store().InsertJob(job));
    return fixture_.LeaseOf(*fixture_.ClaimNext(kWorker), kWorker);
  }
  // A checkpoint, and then the evaluation of its step.
  void Save(const LeaseRef& lease, int64_t step, const std::map<std::string, double>& values = {}) {
    ASSERT_OK(store().CommitCheckpoint(
        lease, {step, {StoreFixture::File("state", static_cast<char>('0' + step % 10))}}));
    if (values.empty()) return;
    v1::JobEvent event;
    event.mutable_evaluation()->set_step(step);
    event.mutable_evaluation()->mutable_values()->insert(values.begin(), values.end());
    ASSERT_OK(store().AppendEvents(lease, StoreFixture::Batch(++batch_, {event})));
  }
  std::vector<int64_t> Steps(const std::string& job) {
    std::vector<int64_t> steps;
    const auto checkpoints = store().ListCheckpoints(job);
    for (const v1::JobCheckpoint& each : *checkpoints) {
      steps.push_back(each.step());
    }
    return steps;
  }
  static NewCheckpoint Computed(int64_t step, const std::string& device) {
    NewCheckpoint checkpoint = {step, {StoreFixture::File("state", '4')}, {}};
    checkpoint.execution.set_device(device);
    checkpoint.execution.set_precision("fp32");
    checkpoint.execution.set_libtorch("2.11.0");
    return checkpoint;
  }
  v1::Attempt FirstAttempt(const std::string& job) { return fixture_.Get(job).attempts(0); }

  int64_t batch_ = 0;
};

TEST_P(CheckpointsTest, TheBestOnesStayBesideTheNewest) {
  const LeaseRef lease = Start(/*keep_best=*/1);
  const double losses[] = {3, 1, 2, 4, 5, 6};
  for (int i = 0; i < 6; ++i) Save(lease, i + 1, {{"eval/loss", losses[i]}});
  EXPECT_THAT(Steps(lease.job), ElementsAre(6, 5, 2));
  // A better one takes the place.
  Save(lease, 7, {{"eval/loss", 0.5}});
  Save(lease, 8, {{"eval/loss", 7}});
  Save(lease, 9, {{"eval/loss", 8}});
  EXPECT_THAT(Steps(lease.job), ElementsAre(9, 8, 7));
}

TEST_P(CheckpointsTest, TheGreatestRougeIsTheBestAndWhatIsNotFiniteIsNone) {
  const LeaseRef lease = Start(/*keep_best=*/2, "eval/rougeL");
  const double scores[] = {0.1, std::nan(""), 0.3, 0.2, 0.05, 0.04};
  for (int i = 0; i < 6; ++i) {
    Save(lease, i + 1, {{"eval/loss", i + 1.0}, {"eval/rougeL", scores[i]}});
  }
  EXPECT_THAT(Steps(lease.job), ElementsAre(6, 5, 4, 3));
}

TEST_P(CheckpointsTest, WithoutKeepBestOnlyTheNewestStay) {
  const LeaseRef lease = Start(/*keep_best=*/0);
  for (int i = 1; i <= 4; ++i) Save(lease, i, {{"eval/loss", i + 1.0}});
  EXPECT_THAT(Steps(lease.job), ElementsAre(4, 3));
}

TEST_P(CheckpointsTest, AFailedJobKeepsItsNewestAndItsBestAndASucceededOneTheNewest) {
  LeaseRef lease = Start(/*keep_best=*/1);
  for (int i = 1; i <= 4; ++i) Save(lease, i, {{"eval/loss", i + 1.0}});
  ASSERT_EQ(*store().FinishAttempt(lease, batch_,
                                   StoreFixture::Failure(v1::FAILURE_CLASS_DATA, "broken")),
            v1::JOB_STATE_FAILED);
  EXPECT_THAT(Steps(lease.job), ElementsAre(4, 1));

  batch_ = 0;
  lease = Start(/*keep_best=*/1);
  for (int i = 1; i <= 4; ++i) Save(lease, i, {{"eval/loss", i + 1.0}});
  ASSERT_EQ(*store().FinishAttempt(lease, batch_, StoreFixture::Success()),
            v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(Steps(lease.job), ElementsAre(4));
}

TEST_P(CheckpointsTest, APinnedOneStaysUntilItIsLetGo) {
  fixture_.options().checkpoint_lifetime = absl::Hours(2);
  fixture_.Reopen();
  if (GetParam() == StoreKind::kMemory) StoreFixture::Fill(store());
  const LeaseRef lease = Start(/*keep_best=*/0);
  Save(lease, 1);
  const std::string name = lease.job + "/checkpoints/1";
  const auto pinned = store().PinCheckpoint(name, true);
  ASSERT_OK(pinned);
  EXPECT_TRUE(pinned->pinned());
  EXPECT_EQ(pinned->name(), name);
  EXPECT_EQ(pinned->size_bytes(), 100);
  EXPECT_EQ(FromTimestamp(pinned->create_time()), fixture_.clock().Now());
  EXPECT_OK(store().PinCheckpoint(name, true)) << "again";
  for (int i = 2; i <= 5; ++i) Save(lease, i);
  EXPECT_THAT(Steps(lease.job), ElementsAre(5, 4, 1));
  if (GetParam() == StoreKind::kSqlite) fixture_.Reopen();
  ASSERT_EQ(*store().FinishAttempt(lease, 0, StoreFixture::Success()), v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(Steps(lease.job), ElementsAre(5, 1));
  fixture_.clock().Advance(absl::Hours(3));
  ASSERT_OK(store().PruneCheckpoints());
  EXPECT_THAT(Steps(lease.job), ElementsAre(1)) << "longer than any other";
  // Let go, it has the time that others have.
  ASSERT_OK(store().PinCheckpoint(name, false));
  fixture_.clock().Advance(absl::Hours(1));
  ASSERT_OK(store().PruneCheckpoints());
  EXPECT_THAT(Steps(lease.job), ElementsAre(1));
  fixture_.clock().Advance(absl::Hours(2));
  ASSERT_OK(store().PruneCheckpoints());
  EXPECT_THAT(Steps(lease.job), IsEmpty());
}

TEST_P(CheckpointsTest, TheEvaluationOfItsStepLeavesItPinned) {
  const LeaseRef lease = Start(/*keep_best=*/0);
  Save(lease, 1);
  ASSERT_OK(store().PinCheckpoint(lease.job + "/checkpoints/1", true));
  ASSERT_OK(store().CommitCheckpoint(
      lease, {1, {StoreFixture::File("state", '1'), StoreFixture::File("evaluated", '9')}}));
  EXPECT_TRUE((*store().ListCheckpoints(lease.job))[0].pinned());
}

TEST_P(CheckpointsTest, WhatIsNotThereIsNotPinned) {
  const LeaseRef lease = Start(/*keep_best=*/0);
  EXPECT_THAT(store().PinCheckpoint(lease.job + "/checkpoints/1", true).status().message(),
              HasSubstr("nor any other"));
  Save(lease, 4);
  const auto missing = store().PinCheckpoint(lease.job + "/checkpoints/1", true);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(missing.status().message(), HasSubstr("it has 4"));
  EXPECT_EQ(store().PinCheckpoint("jobs/none/checkpoints/1", true).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(store().PinCheckpoint(lease.job, true).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store().ReadCheckpoint(lease.job + "/checkpoints/1").status().code(),
            absl::StatusCode::kNotFound);
  const auto read = store().ReadCheckpoint(lease.job + "/checkpoints/4");
  ASSERT_OK(read);
  EXPECT_EQ(read->step, 4);
  EXPECT_EQ(read->files[0].path(), "state");
  EXPECT_TRUE(read->job.resolved_spec().fine_tune().method().has_lora());
}

TEST_P(CheckpointsTest, AHundredMayBePinned) {
  const LeaseRef lease = Start(/*keep_best=*/0);
  for (int i = 1; i <= 101; ++i) {
    Save(lease, i);
    const auto pinned = store().PinCheckpoint(absl::StrCat(lease.job, "/checkpoints/", i), true);
    EXPECT_EQ(pinned.ok(), i <= 100) << i << pinned.status();
  }
}

TEST_P(CheckpointsTest, AJobThatMayMigrateIsBoundToNothing) {
  const LeaseRef lease = Start(/*keep_best=*/0, "", /*allow_migration=*/true);
  ASSERT_OK(store().CommitCheckpoint(lease, Computed(10, "NVIDIA H200")));
  EXPECT_EQ(fixture_.Needs(lease.job), JobNeeds());
  JobUpdate update;
  update.allow_migration = false;
  ASSERT_OK(store().UpdateJob(lease.job, update, {}));
  EXPECT_EQ(fixture_.Needs(lease.job), (JobNeeds{"NVIDIA H200", "", "fp32"}));
  update.allow_migration = true;
  ASSERT_OK(store().UpdateJob(lease.job, update, {}));
  EXPECT_EQ(fixture_.Needs(lease.job), JobNeeds());
  // So is its retry, which begins with its checkpoint.
  ASSERT_EQ(
      *store().FinishAttempt(lease, 0, StoreFixture::Failure(v1::FAILURE_CLASS_DATA, "broken")),
      v1::JOB_STATE_FAILED);
  EXPECT_EQ(store().UpdateJob(lease.job, update, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  const auto retry = store().RetryJob(lease.job, false, {});
  ASSERT_OK(retry);
  EXPECT_TRUE(retry->allow_migration());
  EXPECT_EQ(fixture_.Needs(retry->name()), JobNeeds());
}

TEST_P(CheckpointsTest, AnAttemptSaysWhatItComputedWithHowFarItCameAndHowItEnded) {
  const LeaseRef lease = Start(/*keep_best=*/0);
  EXPECT_EQ(FirstAttempt(lease.job).name(), lease.job + "/attempts/1");
  EXPECT_FALSE(FirstAttempt(lease.job).has_execution());
  ASSERT_OK(store().CommitCheckpoint(lease, Computed(10, "cpu")));
  ASSERT_OK(store().CommitCheckpoint(lease, Computed(20, "other")));
  EXPECT_EQ(FirstAttempt(lease.job).execution().device(), "cpu") << "the first one's";
  EventBatch batch = StoreFixture::Batch(1, {StoreFixture::LossEvent(25, 1)});
  batch.stage = v1::JOB_STAGE_TRAINING;
  batch.step = 25;
  ASSERT_OK(store().AppendEvents(lease, batch));
  EXPECT_EQ(FirstAttempt(lease.job).outcome(), v1::ATTEMPT_OUTCOME_UNSPECIFIED);
  ASSERT_OK(store().FinishAttempt(lease, 1, AttemptReturned()));
  EXPECT_EQ(FirstAttempt(lease.job).outcome(), v1::ATTEMPT_OUTCOME_RETURNED);
  EXPECT_EQ(FirstAttempt(lease.job).last_step(), 25);
}

TEST_P(CheckpointsTest, EachEndOfAnAttemptHasItsName) {
  const auto outcome_of = [&](const AttemptOutcome& outcome,
                              const std::function<void(const std::string&)>& before) {
    const LeaseRef lease = Start(/*keep_best=*/0);
    if (before) before(lease.job);
    EXPECT_OK(store().FinishAttempt(lease, 0, outcome));
    const v1::AttemptOutcome named = FirstAttempt(lease.job).outcome();
    EXPECT_OK(store().CancelJob(lease.job, {}));
    return named;
  };
  const auto pause = [&](const std::string& job) { EXPECT_OK(store().PauseJob(job, {})); };
  const auto cancel = [&](const std::string& job) { EXPECT_OK(store().CancelJob(job, {})); };
  EXPECT_EQ(outcome_of(StoreFixture::Failure(v1::FAILURE_CLASS_DATA, "x"), nullptr),
            v1::ATTEMPT_OUTCOME_FAILED);
  EXPECT_EQ(outcome_of(AttemptPaused(), pause), v1::ATTEMPT_OUTCOME_PAUSED);
  EXPECT_EQ(outcome_of(AttemptPaused(), nullptr), v1::ATTEMPT_OUTCOME_RETURNED);
  EXPECT_EQ(outcome_of(AttemptCancelled(), cancel), v1::ATTEMPT_OUTCOME_CANCELLED);
  EXPECT_EQ(outcome_of(AttemptCancelled(), nullptr), v1::ATTEMPT_OUTCOME_RETURNED);
  const LeaseRef succeeded = Start(/*keep_best=*/0);
  EXPECT_OK(store().FinishAttempt(succeeded, 0, StoreFixture::Success()));
  EXPECT_EQ(FirstAttempt(succeeded.job).outcome(), v1::ATTEMPT_OUTCOME_SUCCEEDED);
  const LeaseRef lost = Start(/*keep_best=*/0);
  fixture_.clock().Advance(absl::Hours(1));
  EXPECT_OK(store().ExpireLeases());
  EXPECT_EQ(FirstAttempt(lost.job).outcome(), v1::ATTEMPT_OUTCOME_LEASE_LOST);
}

INSTANTIATE_ON_EVERY_STORE(CheckpointsTest);

}  // namespace
}  // namespace graft
