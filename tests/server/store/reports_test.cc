#include <map>

#include "tests/server/store/changes_heard.h"
#include "tests/server/store/reporting_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

using ReportsTest = ReportingTest;
INSTANTIATE_ON_EVERY_STORE(ReportsTest);

TEST_P(ReportsTest, BatchesAreStoredOnceInOrder) {
  const LeaseRef lease = fixture_.Start(kWorker);
  EXPECT_EQ(Append(lease, 2, {StoreFixture::LossEvent(2, 2)}), 0);  // A gap: not stored.
  EXPECT_EQ(Append(lease, 1, {StoreFixture::LossEvent(1, 3), StoreFixture::LossEvent(2, 2)}), 1);
  EXPECT_EQ(Append(lease, 1, {StoreFixture::LossEvent(1, 3)}), 1);  // A repetition: dropped.
  EXPECT_EQ(Append(lease, 2, {StoreFixture::LossEvent(3, 1)}), 2);
  const auto events = fixture_.Events(lease.job, 2);
  ASSERT_THAT(events, SizeIs(3));
  EXPECT_EQ(events[0].metrics().step(), 1);
  EXPECT_EQ(events[2].metrics().step(), 3);
  EXPECT_EQ(events[0].attempt(), 1);
  ExpectGapFree(lease.job);
}

TEST_P(ReportsTest, ProgressAndExecutionAreSeenOnTheJob) {
  const LeaseRef lease = fixture_.Start(kWorker);
  v1::JobEvent stage;
  stage.mutable_stage_change()->set_stage(v1::JOB_STAGE_TRAINING);
  stage.mutable_stage_change()->set_device("cpu");
  stage.mutable_stage_change()->set_precision("fp32");
  stage.mutable_stage_change()->set_threads(2);
  stage.mutable_stage_change()->set_engine_version("0.1.0");
  EventBatch batch = StoreFixture::Batch(1, {stage, StoreFixture::LossEvent(5, 1.5)});
  batch.stage = v1::JOB_STAGE_TRAINING;
  batch.step = 5;
  batch.total_steps = 10;
  batch.epoch = 0.5;
  batch.eta_seconds = 7;
  batch.stage_done = 3;
  batch.stage_total = 4;
  ASSERT_OK(store().AppendEvents(lease, batch));
  const v1::Job job = fixture_.Get(lease.job);
  EXPECT_EQ(job.stage(), v1::JOB_STAGE_TRAINING);
  EXPECT_EQ(job.step(), 5);
  EXPECT_EQ(job.total_steps(), 10);
  EXPECT_EQ(job.epoch(), 0.5);
  EXPECT_EQ(job.eta_seconds(), 7);
  EXPECT_EQ(job.stage_done(), 3);
  EXPECT_EQ(job.stage_total(), 4);
  EXPECT_EQ(job.last_metrics().at("train/loss"), 1.5);
  EXPECT_EQ(job.attempts(0).device(), "cpu");
  EXPECT_EQ(job.attempts(0).precision(), "fp32");
  EXPECT_EQ(job.attempts(0).threads(), 2);
  EXPECT_EQ(job.attempts(0).engine_version(), "0.1.0");
}

TEST_P(ReportsTest, NextAttemptResumesFromTheNewestCheckpoint) {
  const LeaseRef lease = fixture_.Start(kWorker);
  for (const int64_t step : {10, 20, 30}) {
    ASSERT_OK(store().CommitCheckpoint(lease, {step,
                                               {StoreFixture::File("state", char('3' + step / 10)),
                                                StoreFixture::File("best", '9')}}));
  }
  const auto events = fixture_.Events(lease.job);
  EXPECT_EQ(events.back().checkpoint().step(), 30);
  EXPECT_EQ(events.back().checkpoint().size_bytes(), 200);
  // keep_last is 2.
  EXPECT_FALSE(*store().IsBlobReferenced(std::string(64, '4')));
  EXPECT_TRUE(*store().IsBlobReferenced(std::string(64, '5')));
  // The same again changes nothing.
  ASSERT_OK(store().CommitCheckpoint(
      lease, {30, {StoreFixture::File("state", '6'), StoreFixture::File("best", '9')}}));
  EXPECT_THAT(fixture_.Events(lease.job), SizeIs(events.size()));
  // What the evaluation of its step adds is kept, and no news.
  ASSERT_OK(store().CommitCheckpoint(
      lease, {30,
              {StoreFixture::File("state", '6'), StoreFixture::File("best", '9'),
               StoreFixture::File("evaluated", '7')}}));
  EXPECT_THAT(fixture_.Events(lease.job), SizeIs(events.size()));
  EXPECT_TRUE(*store().IsBlobReferenced(std::string(64, '7')));
  EXPECT_TRUE(*store().IsBlobReferenced(std::string(64, '5')));

  Resume(lease);
  const v1::Job job = fixture_.Get(lease.job);
  EXPECT_EQ(job.attempts(1).resumed_from_step(), 30);
  EXPECT_EQ(job.step(), 30);
  EXPECT_THAT(job.state_reason(), HasSubstr("from step 30"));
  const auto claim = store().FindClaim(kOtherWorker, "");
  ASSERT_OK(claim);
  EXPECT_EQ(claim->checkpoint_step, 30);
  ASSERT_THAT(claim->checkpoint, SizeIs(3));
  EXPECT_EQ(claim->checkpoint[0].path(), "state");
  EXPECT_EQ(claim->checkpoint[0].sha256(), std::string(64, '6'));
}

// As a worker reports it.
AttemptFailed CorruptCheckpoint(int64_t step) {
  const absl::Status status = CheckpointCorrupt(absl::DataLossError("blob 5555"), step);
  AttemptFailed failed;
  failed.failure_class = v1::FAILURE_CLASS_INFRASTRUCTURE;
  failed.error.set_code(static_cast<int>(status.code()));
  failed.error.set_message(std::string(status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    failed.error.add_details()->set_type_url(std::string(url));
    failed.error.mutable_details(0)->set_value(std::string(payload));
  });
  return failed;
}

TEST_P(ReportsTest, ACorruptCheckpointIsDroppedAndTheOneBeforeIsTheNext) {
  LeaseRef lease = fixture_.Start(kWorker);
  for (const int64_t step : {10, 20}) {
    ASSERT_OK(store().CommitCheckpoint(
        lease, {step, {StoreFixture::File("state", static_cast<char>('3' + step / 10))}}));
  }
  for (const int64_t step : {20, 10}) {
    EXPECT_EQ(*store().FinishAttempt(lease, 0, CorruptCheckpoint(step)), v1::JOB_STATE_QUEUED);
    const auto events = fixture_.Events(lease.job);
    const v1::JobEvent& warning = events[events.size() - 2];
    EXPECT_EQ(warning.warning().code(), "CHECKPOINT_CORRUPT");
    EXPECT_THAT(warning.warning().text(), HasSubstr("blob 5555"));
    // At once, and by the same worker.
    const auto claim = fixture_.ClaimNext(kWorker);
    ASSERT_OK(claim);
    EXPECT_EQ(claim->checkpoint_step, step == 20 ? 10 : 0);
    EXPECT_EQ(claim->checkpoint.empty(), step == 10);
    lease = fixture_.LeaseOf(*claim, kWorker);
  }
  EXPECT_FALSE(*store().IsBlobReferenced(std::string(64, '5')));
  // They are counted at no place, and one that names a checkpoint that is gone is an ordinary one.
  EXPECT_EQ(*store().FinishAttempt(lease, 0, CorruptCheckpoint(20)), v1::JOB_STATE_QUEUED);
  EXPECT_THAT(fixture_.Get(lease.job).state_reason(), HasSubstr("1 of 5"));
  EXPECT_EQ(fixture_.ClaimNext(kWorker).status().code(), absl::StatusCode::kNotFound) << "it waits";
}

TEST_P(ReportsTest, AJobWhoseEveryCheckpointIsSpoiledEnds) {
  LeaseRef lease = fixture_.Start(kWorker);
  v1::JobState state = v1::JOB_STATE_QUEUED;
  int attempts = 0;
  while (state == v1::JOB_STATE_QUEUED && attempts < 50) {
    ASSERT_OK(store().CommitCheckpoint(lease, {10, {StoreFixture::File("state", '4')}}));
    state = *store().FinishAttempt(lease, 0, CorruptCheckpoint(10));
    ++attempts;
    if (state == v1::JOB_STATE_QUEUED)
      lease = fixture_.LeaseOf(*fixture_.ClaimNext(kWorker), kWorker);
  }
  EXPECT_EQ(state, v1::JOB_STATE_FAILED);
  EXPECT_EQ(attempts, 20);
  EXPECT_THAT(fixture_.Get(lease.job).error().message(),
              AllOf(HasSubstr("blob 5555"), HasSubstr("failure 20 of 20 without progress")));
}

TEST_P(ReportsTest, ACheckpointBeyondAllEarlierOnesIsProgressAfterACorruptOne) {
  LeaseRef lease = fixture_.Start(kWorker);
  for (int attempt = 1; attempt <= 30; ++attempt) {
    ASSERT_OK(store().CommitCheckpoint(lease, {attempt, {StoreFixture::File("state", '4')}}));
    ASSERT_EQ(*store().FinishAttempt(lease, 0, CorruptCheckpoint(attempt)), v1::JOB_STATE_QUEUED);
    lease = fixture_.LeaseOf(*fixture_.ClaimNext(kWorker), kWorker);
  }
}

TEST_P(ReportsTest, ADroppedCheckpointBindsTheJobToNothing) {
  NewJob job = StoreFixture::LoraJob();
  job.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_training()->set_precision(
      v1::PRECISION_BF16);
  job.job.mutable_resolved_spec()
      ->mutable_fine_tune()
      ->mutable_training()
      ->mutable_checkpoint()
      ->set_keep_last(3);
  ASSERT_OK(store().InsertJob(job));
  const auto first = fixture_.ClaimNext(kWorker);
  ASSERT_OK(first);
  LeaseRef lease = fixture_.LeaseOf(*first, kWorker);
  NewCheckpoint checkpoint = {10, {StoreFixture::File("state", '4')}, {}};
  checkpoint.execution.set_device("cpu");
  checkpoint.execution.set_cpu_capability("AVX2");
  checkpoint.execution.set_precision("bf16");
  ASSERT_OK(store().CommitCheckpoint(lease, checkpoint));
  checkpoint = {20, {StoreFixture::File("state", '5')}, {}};
  checkpoint.execution.set_device("NVIDIA H200");
  checkpoint.execution.set_precision("bf16");
  ASSERT_OK(store().CommitCheckpoint(lease, checkpoint));
  const JobNeeds of_cpu = {"cpu", "AVX2", "bf16"}, of_gpu = {"NVIDIA H200", "", "bf16"};
  EXPECT_EQ(fixture_.Needs(lease.job), of_gpu);
  // A worker of an earlier build does not say how it computed: as the one before.
  ASSERT_OK(store().CommitCheckpoint(lease, {30, {StoreFixture::File("state", '6')}, {}}));
  EXPECT_EQ(fixture_.Needs(lease.job), of_gpu);
  if (GetParam() == StoreKind::kSqlite) fixture_.Reopen();
  const auto needs_after = [&](int64_t dropped) {
    EXPECT_EQ(*store().FinishAttempt(lease, 0, CorruptCheckpoint(dropped)), v1::JOB_STATE_QUEUED);
    const auto claim = fixture_.ClaimNext(kWorker);
    EXPECT_OK(claim);
    lease = fixture_.LeaseOf(*claim, kWorker);
    return fixture_.Needs(lease.job);
  };
  EXPECT_EQ(needs_after(30), of_gpu);
  EXPECT_EQ(needs_after(20), of_cpu);
  EXPECT_EQ(needs_after(10), (JobNeeds{"", "", "bf16"})) << "the spec's";
}

TEST_P(ReportsTest, OnlyAFailureIsToldAsOne) {
  std::map<std::string, v1::FailureClass> told;  // By the job, of those that are queued again.
  const auto subscription = store().Subscribe("", [&](const JobChange& change) {
    const bool again =
        change.previous_state == v1::JOB_STATE_RUNNING && change.state == v1::JOB_STATE_QUEUED;
    if (again) told[change.job] = change.failure_class;
  });
  ChangesHeard changes(store());
  const AttemptFailed killed = StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "signal 9");
  for (const AttemptOutcome& outcome :
       {AttemptOutcome(killed), AttemptOutcome(AttemptCancelled()),
        AttemptOutcome(AttemptReturned()), AttemptOutcome(CorruptCheckpoint(10))}) {
    const LeaseRef lease = fixture_.Start(kWorker);
    ASSERT_OK(store().CommitCheckpoint(lease, {10, {StoreFixture::File("state", '4')}}));
    EXPECT_EQ(*store().FinishAttempt(lease, 0, outcome), v1::JOB_STATE_QUEUED);
    EXPECT_OK(store().CancelJob(lease.job, {}));
  }
  changes.WaitForAll();
  EXPECT_THAT(told, ElementsAre(std::pair("jobs/j1", v1::FAILURE_CLASS_INFRASTRUCTURE),
                                std::pair("jobs/j2", v1::FAILURE_CLASS_INFRASTRUCTURE),
                                std::pair("jobs/j3", v1::FAILURE_CLASS_UNSPECIFIED),
                                std::pair("jobs/j4", v1::FAILURE_CLASS_UNSPECIFIED)));
}

TEST_P(ReportsTest, CheckpointWithoutFilesOrStepIsRefused) {
  const LeaseRef lease = fixture_.Start(kWorker);
  v1::Artifact nameless = StoreFixture::File("", '1');
  v1::Artifact hashless = StoreFixture::File("state", '1');
  hashless.set_sha256("zz");
  EXPECT_EQ(store().CommitCheckpoint(lease, {1, {}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store().CommitCheckpoint(lease, {0, {StoreFixture::File("state", '1')}}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store().CommitCheckpoint(lease, {1, {nameless}}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store().CommitCheckpoint(lease, {1, {hashless}}).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(ReportsTest, SuccessPublishesTheAdapterAndEndsTheJobTogether) {
  const LeaseRef lease = fixture_.Start(kWorker);
  ASSERT_OK(store().CommitCheckpoint(lease, {10, {StoreFixture::File("state", '2')}}));
  Append(lease, 1, {StoreFixture::LossEvent(1, 1)});
  const auto state = store().FinishAttempt(lease, 1, StoreFixture::Success());
  ASSERT_OK(state);
  EXPECT_EQ(*state, v1::JOB_STATE_SUCCEEDED);
  const v1::Job job = fixture_.Get(lease.job);
  EXPECT_TRUE(job.done());
  EXPECT_EQ(job.result().adapter(), "j1");
  EXPECT_EQ(job.result().best_step(), 7);
  EXPECT_EQ(job.result().adapter_size_bytes(), 100);
  EXPECT_TRUE(job.attempts(0).has_end_time());
  const auto adapter = store().GetAdapter("j1");
  ASSERT_OK(adapter);
  EXPECT_EQ(adapter->job(), lease.job);
  EXPECT_EQ(adapter->base_model(), "gpt2");
  EXPECT_EQ(adapter->base_model_sha256(), std::string(64, 'a'));
  EXPECT_EQ(adapter->method().lora().rank(), 8);
  EXPECT_EQ(adapter->metrics().at("eval/loss"), 0.5);
  EXPECT_EQ(adapter->trainable_parameters(), 123);
  const auto artifacts = store().ListArtifacts(lease.job);
  ASSERT_OK(artifacts);
  ASSERT_THAT(*artifacts, SizeIs(1));
  EXPECT_EQ((*artifacts)[0].path(), "predictions.jsonl");
  // The adapter's and the artifact's blobs stay, and those of the newest checkpoint.
  EXPECT_TRUE(*store().IsBlobReferenced(std::string(64, '7')));
  EXPECT_TRUE(*store().IsBlobReferenced(std::string(64, '8')));
  EXPECT_TRUE(*store().IsBlobReferenced(std::string(64, '2')));
  ExpectGapFree(lease.job);
  // The same call again answers the same; another worker's does not.
  EXPECT_EQ(*store().FinishAttempt(lease, 1, StoreFixture::Success()), v1::JOB_STATE_SUCCEEDED);
  LeaseRef other = lease;
  other.worker = kOtherWorker;
  EXPECT_EQ(ReasonOf(store().FinishAttempt(other, 1, StoreFixture::Success()).status()),
            kReasonStaleLease);
  EXPECT_EQ(*store().NextExpiry(), absl::InfiniteDuration());
}

TEST_P(ReportsTest, FullJobPublishesAModel) {
  NewJob new_job = StoreFixture::LoraJob();
  v1::FineTuneSpec& spec = *new_job.job.mutable_resolved_spec()->mutable_fine_tune();
  spec.mutable_method()->Clear();
  spec.mutable_method()->mutable_full();
  spec.set_output_name("pretrained");
  ASSERT_OK(store().InsertJob(new_job));
  const auto claim = fixture_.ClaimNext(kWorker);
  ASSERT_OK(claim);
  AttemptSucceeded outcome;
  outcome.model.emplace().set_sha256(std::string(64, '9'));
  outcome.model->set_n_embd(32);
  *outcome.model->add_files() = StoreFixture::File("model.safetensors", '6');
  ASSERT_OK(store().FinishAttempt(fixture_.LeaseOf(*claim, kWorker), 0, outcome));
  EXPECT_EQ(fixture_.Get("jobs/j1").result().model(), "pretrained");
  const auto model = store().GetModel("pretrained");
  ASSERT_OK(model);
  EXPECT_EQ(model->job(), "jobs/j1");
  EXPECT_EQ(model->size_bytes(), 100);
  EXPECT_EQ(model->n_embd(), 32);
}

TEST_P(ReportsTest, EndWaitsForItsEvents) {
  const LeaseRef lease = fixture_.Start(kWorker);
  Append(lease, 1, {StoreFixture::LossEvent(1, 1)});
  const auto early = store().FinishAttempt(lease, 2, StoreFixture::Success());
  EXPECT_EQ(early.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(early.status()), kReasonEventsMissing);
  EXPECT_EQ(store().GetAdapter("j1").status().code(), absl::StatusCode::kNotFound);
  Append(lease, 2, {StoreFixture::LossEvent(2, 1)});
  EXPECT_OK(store().FinishAttempt(lease, 2, StoreFixture::Success()));
}

TEST_P(ReportsTest, FailureClassDecidesAboutRetry) {
  for (const v1::FailureClass failure_class :
       {v1::FAILURE_CLASS_CONFIG, v1::FAILURE_CLASS_DATA, v1::FAILURE_CLASS_OUT_OF_MEMORY,
        v1::FAILURE_CLASS_DIVERGED, v1::FAILURE_CLASS_INTERNAL}) {
    const LeaseRef lease = fixture_.Start(kWorker);
    const auto state =
        store().FinishAttempt(lease, 0, StoreFixture::Failure(failure_class, "line 17"));
    ASSERT_OK(state);
    EXPECT_EQ(*state, v1::JOB_STATE_FAILED);
    const v1::Job job = fixture_.Get(lease.job);
    EXPECT_EQ(job.failure_class(), failure_class);
    EXPECT_EQ(job.error().message(), "line 17");
    EXPECT_EQ(job.attempts(0).error().message(), "line 17");
  }
  const LeaseRef lease = fixture_.Start(kWorker);
  const auto outcome = StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "engine killed");
  EXPECT_EQ(*store().FinishAttempt(lease, 0, outcome), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(*store().FinishAttempt(lease, 0, outcome), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(fixture_.Get(lease.job).attempts(0).error().message(), "engine killed");
  EXPECT_EQ(store().NextRetry() - fixture_.clock().Boottime(), absl::Seconds(1));
}

TEST_P(ReportsTest, CancelAgainstCompletionHasOneEnd) {
  const LeaseRef lease = fixture_.Start(kWorker);
  ASSERT_OK(store().CancelJob(lease.job, {}));
  EXPECT_EQ(*store().FinishAttempt(lease, 0, StoreFixture::Success()), v1::JOB_STATE_SUCCEEDED);
  EXPECT_OK(store().GetAdapter("j1"));
  const LeaseRef failing = fixture_.Start(kWorker);
  ASSERT_OK(store().CancelJob(failing.job, {}));
  EXPECT_EQ(*store().FinishAttempt(
                failing, 0, StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "killed")),
            v1::JOB_STATE_CANCELLED);
}

TEST_P(ReportsTest, WorkerThatGivesAJobBackHasItQueuedAgain) {
  const LeaseRef lease = fixture_.Start(kWorker);
  EXPECT_EQ(*store().FinishAttempt(lease, 0, AttemptCancelled{}), v1::JOB_STATE_QUEUED);
  EXPECT_THAT(fixture_.Get(lease.job).state_reason(), HasSubstr("gave the job back"));
}

}  // namespace
}  // namespace graft
