#include <map>
#include <string>
#include <vector>

#include "common/base/utf8.h"
#include "common/formats/manifest.h"
#include "common/jobs/artifacts.h"
#include "tests/server/store/studies.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class StudyTest : public StoreTest {
 protected:
  v1::Study Insert(const NewStudy& made) {
    const auto study = store().InsertStudy(made);
    EXPECT_OK(study);
    return study.ok() ? *study : v1::Study();
  }
  v1::Study Get() { return *store().GetStudy("studies/j1"); }
  v1::Trial TrialOf(int number) { return Get().trials(number - 1); }
  v1::Job JobOf(int trial) { return fixture_.Get(TrialOf(trial).job()); }
  // As the study loop does.
  StudyAdvance AdvanceNow() {
    auto advance = store().AdvanceStudy("studies/j1");
    if (advance.ok() && advance->ending) advance = store().FinishStudy("studies/j1", files_);
    EXPECT_OK(advance);
    return advance.ok() ? *advance : StudyAdvance();
  }
  std::vector<v1::StudyEvent> StudyEvents() {
    return *store().ReadStudyEvents("studies/j1", 0, 1000);
  }

  // Claims the first of the queue, which must be that trial's.
  LeaseRef Claim(int trial) {
    const auto claim = fixture_.ClaimNext(kWorker);
    EXPECT_OK(claim);
    if (!claim.ok()) return {};
    EXPECT_EQ(claim->job.name(), TrialOf(trial).job());
    batches_[claim->job.name()] = 0;
    return fixture_.LeaseOf(*claim, kWorker);
  }
  void Evaluate(const LeaseRef& lease, int64_t step, double loss) {
    EventBatch batch;
    batch.number = ++batches_[lease.job];
    batch.step = step;
    batch.stage = v1::JOB_STAGE_TRAINING;
    v1::EvaluationResult& result = *batch.events.emplace_back().mutable_evaluation();
    result.set_step(step);
    (*result.mutable_values())["eval/loss"] = loss;
    ASSERT_OK(store().AppendEvents(lease, batch));
  }
  // As a worker does at the job's pause_at_step.
  void WaitAt(const LeaseRef& lease, int64_t step, double loss) {
    Evaluate(lease, step, loss);
    NewCheckpoint checkpoint = {step, {StoreFixture::File("state", 'a')}, {}};
    ASSERT_OK(store().CommitCheckpoint(lease, checkpoint));
    const auto state = store().FinishAttempt(lease, batches_[lease.job], AttemptPaused{});
    ASSERT_OK(state);
    EXPECT_EQ(*state, v1::JOB_STATE_PAUSED);
  }
  void Succeed(const LeaseRef& lease, double loss) {
    AttemptSucceeded success = StoreFixture::Success();
    (*success.result.mutable_metrics())["eval/loss"] = loss;
    ASSERT_OK(store().FinishAttempt(lease, batches_[lease.job], success));
  }
  void FailNow(const LeaseRef& lease) {
    ASSERT_OK(store().FinishAttempt(lease, batches_[lease.job],
                                    StoreFixture::Failure(v1::FAILURE_CLASS_DATA, "a bad row")));
  }

  std::map<std::string, int64_t> batches_;
  std::vector<v1::Artifact> files_;  // That studies end with.
};
INSTANTIATE_ON_EVERY_STORE(StudyTest);

TEST_P(StudyTest, AStudyIsThereWithItsFirstTrials) {
  NewStudy made = RankStudy(3,
                            "display_name: 'ranks' output_name: 'best' priority: 4 labels { key: "
                            "'team' value: 'news' }");
  made.request = {"r", "b"};
  const v1::Study study = Insert(made);
  EXPECT_EQ(study.name(), "studies/j1");
  EXPECT_EQ(study.state(), v1::STUDY_STATE_RUNNING);
  ASSERT_THAT(study.trials(), SizeIs(3));
  const v1::Job job = fixture_.Get(study.trials(1).job());
  EXPECT_EQ(job.trial(), "studies/j1/trials/2");
  EXPECT_EQ(job.study(), "ranks");
  EXPECT_EQ(job.display_name(), "rank=2");
  EXPECT_EQ(job.labels().at("rank"), "2");
  EXPECT_EQ(job.labels().at("team"), "news");
  EXPECT_EQ(job.priority(), 4);
  EXPECT_EQ(job.pause_at_step(), 0);
  EXPECT_EQ(job.resolved_spec().fine_tune().output_name(), "best-2");
  EXPECT_EQ(Insert(made).name(), "studies/j1") << "the same request";
  EXPECT_EQ(store().FindInsertedStudy({"r", "b"})->name(), "studies/j1");
  EXPECT_EQ(ReasonOf(store().FindInsertedStudy({"r", "c"}).status()), kReasonRequestIdReused);
  EXPECT_EQ(store().FindInsertedStudy({"other", "b"}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(*store().OpenStudies(), ElementsAre("studies/j1"));
  const auto list = store().ListStudies(1, "");
  ASSERT_OK(list);
  ASSERT_THAT(list->items, SizeIs(1));
  EXPECT_THAT(list->items[0].trials(), IsEmpty());
  EXPECT_FALSE(list->items[0].has_spec_template());
}

TEST_P(StudyTest, ANameThatIsTakenIsRefusedAndNothingIsLeft) {
  ASSERT_OK(store().InsertAdapter(StoreFixture::NewAdapter("best")));
  const NewStudy made = RankStudy(2, "output_name: 'best'");
  const absl::Status refused = store().InsertStudy(made).status();
  EXPECT_EQ(ReasonOf(refused), kReasonNameTaken);
  EXPECT_THAT(refused.message(), HasSubstr("study.output_name"));
  EXPECT_EQ(ReasonOf(store().CheckStudy(made)), kReasonNameTaken);
  EXPECT_THAT(*store().OpenStudies(), IsEmpty());
  EXPECT_THAT(*store().QueuedJobs(10), IsEmpty());
}

TEST_P(StudyTest, ATrialsNameThatIsTakenIsRefusedAtOnce) {
  ASSERT_OK(store().InsertAdapter(StoreFixture::NewAdapter("best-2")));
  const absl::Status refused = store().InsertStudy(RankStudy(2, "output_name: 'best'")).status();
  EXPECT_EQ(ReasonOf(refused), kReasonNameTaken);
  EXPECT_THAT(refused.message(), HasSubstr("study.output_name: the adapter best-2 is there"));
  EXPECT_THAT(*store().QueuedJobs(10), IsEmpty());
}

TEST_P(StudyTest, LongValuesAreCutBetweenCharacters) {
  NewStudy made = RankStudy(1);
  std::string value = "x";  // So that the bound falls into a character.
  while (value.size() < 400) value += "ü";
  (*made.study.mutable_trials(0)->mutable_parameters())["fine_tune.data.prompt_template"] = value;
  Insert(made);
  const v1::Job job = JobOf(1);
  EXPECT_EQ(FindInvalidUtf8(job.display_name()), absl::string_view::npos);
  EXPECT_LE(job.display_name().size(), 128u);
  const std::string& label = job.labels().at("prompt_template");
  EXPECT_EQ(FindInvalidUtf8(label), absl::string_view::npos);
  EXPECT_LE(label.size(), 256u);
}

TEST_P(StudyTest, SuccessiveHalvingLetsTheBestGoOnAndPublishesIt) {
  Insert(RankStudy(2, std::string(kHalving) + " output_name: 'best'"));
  EXPECT_EQ(JobOf(1).pause_at_step(), 10);
  WaitAt(Claim(1), 10, 3.0);
  AdvanceNow();
  EXPECT_EQ(TrialOf(1).state(), v1::TRIAL_STATE_WAITING);
  EXPECT_EQ(ReasonOf(store().ResumeJob(TrialOf(1).job(), {}).status()), kReasonWrongState)
      << "it is for the study to decide";
  WaitAt(Claim(2), 10, 2.0);
  AdvanceNow();
  EXPECT_EQ(TrialOf(1).state(), v1::TRIAL_STATE_STOPPED);
  EXPECT_EQ(JobOf(1).state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(TrialOf(2).state(), v1::TRIAL_STATE_RUNNING);
  EXPECT_EQ(JobOf(2).state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(JobOf(2).pause_at_step(), 20);
  WaitAt(Claim(2), 20, 1.5);
  AdvanceNow();
  EXPECT_EQ(JobOf(2).pause_at_step(), 0) << "to its end";
  Succeed(Claim(2), 1.2);
  const StudyAdvance end = AdvanceNow();
  EXPECT_TRUE(end.done);
  EXPECT_EQ(end.adapter, "best");
  const v1::Study study = Get();
  EXPECT_EQ(study.state(), v1::STUDY_STATE_SUCCEEDED);
  EXPECT_EQ(study.best_trial(), 2);
  EXPECT_EQ(study.planned_steps(), 10 + 40);
  EXPECT_EQ(store().GetAdapter("best")->sha256(), store().GetAdapter("best-2")->sha256());
  ASSERT_THAT(study.ranking(), SizeIs(2));
  EXPECT_EQ(study.ranking(0).point(), 2);
  EXPECT_THAT(*store().OpenStudies(), IsEmpty());
  // The log has it all, without a gap.
  int64_t sequence = 0;
  std::vector<std::string> decided;
  for (const v1::StudyEvent& event : StudyEvents()) {
    EXPECT_EQ(event.sequence(), ++sequence);
    if (!event.has_decision()) continue;
    decided.push_back(absl::StrCat(event.decision().step(), ":", event.decision().promoted_size(),
                                   "/", event.decision().stopped_size()));
  }
  EXPECT_THAT(decided, ElementsAre("10:1/0", "10:0/1", "20:1/0"));
  EXPECT_EQ(study.last_sequence(), sequence);
}

TEST_P(StudyTest, AskingAgainChangesNothing) {
  Insert(RankStudy(2, kHalving));
  WaitAt(Claim(1), 10, 3.0);
  AdvanceNow();
  const std::string before = Get().SerializeAsString();
  for (int i = 0; i < 3; ++i) AdvanceNow();
  EXPECT_EQ(Get().SerializeAsString(), before);
}

TEST_P(StudyTest, AnotherServerDecidesTheSame) {
  if (GetParam() == StoreKind::kMemory) GTEST_SKIP() << "a memory store forgets";
  Insert(RankStudy(2, kHalving));
  WaitAt(Claim(1), 10, 1.0);
  fixture_.Reopen();
  AdvanceNow();
  WaitAt(Claim(2), 10, 2.0);
  fixture_.Reopen();  // Before anything was decided.
  AdvanceNow();
  EXPECT_EQ(TrialOf(2).state(), v1::TRIAL_STATE_STOPPED);
  EXPECT_EQ(JobOf(1).pause_at_step(), 20);
}

TEST_P(StudyTest, TrialsOfOnePointAreJudgedByTheirMean) {
  Insert(RankStudy(2, kHalving, /*repeats=*/2));
  WaitAt(Claim(1), 10, 1.0);
  WaitAt(Claim(2), 10, 9.0);
  WaitAt(Claim(3), 10, 2.0);
  AdvanceNow();
  EXPECT_EQ(TrialOf(1).state(), v1::TRIAL_STATE_WAITING) << "for the fourth";
  WaitAt(Claim(4), 10, 3.0);
  AdvanceNow();
  for (const int trial : {1, 2}) EXPECT_EQ(TrialOf(trial).state(), v1::TRIAL_STATE_STOPPED);
  for (const int trial : {3, 4}) EXPECT_EQ(JobOf(trial).pause_at_step(), 20);
}

TEST_P(StudyTest, AStudyWhoseTrialsAllFailSaysWhich) {
  Insert(RankStudy(2));
  FailNow(Claim(1));
  AdvanceNow();
  EXPECT_EQ(Get().state(), v1::STUDY_STATE_RUNNING);
  FailNow(Claim(2));
  EXPECT_TRUE(AdvanceNow().done);
  const v1::Study study = Get();
  EXPECT_EQ(study.state(), v1::STUDY_STATE_FAILED);
  EXPECT_THAT(study.state_reason(), HasSubstr("trial 1 (jobs/j2): a bad row; trial 2 (jobs/j3)"));
}

TEST_P(StudyTest, OneThatFailsEndsNoOther) {
  Insert(RankStudy(3, kHalving));
  FailNow(Claim(1));
  WaitAt(Claim(2), 10, 2.0);
  WaitAt(Claim(3), 10, 3.0);
  AdvanceNow();
  EXPECT_EQ(TrialOf(1).state(), v1::TRIAL_STATE_FAILED);
  EXPECT_EQ(JobOf(2).pause_at_step(), 20);
  EXPECT_EQ(TrialOf(3).state(), v1::TRIAL_STATE_STOPPED);
}

TEST_P(StudyTest, OnlySoManyRunAtATime) {
  Insert(RankStudy(3, "limits { max_parallel_trials: 1 }"));
  EXPECT_EQ(TrialOf(2).state(), v1::TRIAL_STATE_PENDING);
  const LeaseRef first = Claim(1);
  AdvanceNow();
  EXPECT_EQ(TrialOf(2).state(), v1::TRIAL_STATE_PENDING);
  Succeed(first, 1.0);
  AdvanceNow();
  EXPECT_EQ(TrialOf(2).state(), v1::TRIAL_STATE_RUNNING);
  EXPECT_EQ(TrialOf(3).state(), v1::TRIAL_STATE_PENDING);
}

TEST_P(StudyTest, AFullQueueIsWaitedFor) {
  fixture_.options().max_queued_jobs = 2;
  fixture_.Reopen();
  if (GetParam() == StoreKind::kMemory) StoreFixture::Fill(store());
  Insert(RankStudy(3));
  EXPECT_EQ(TrialOf(3).state(), v1::TRIAL_STATE_PENDING);
  EXPECT_TRUE(AdvanceNow().blocked);
  Claim(1);
  EXPECT_FALSE(AdvanceNow().blocked);
  EXPECT_EQ(TrialOf(3).state(), v1::TRIAL_STATE_RUNNING);
  EXPECT_EQ(ReasonOf(store().InsertStudy(RankStudy(1)).status()), kReasonQueueFull);
}

TEST_P(StudyTest, APausedStudyBeginsNothingAndGoesOn) {
  Insert(RankStudy(3, std::string(kHalving) + " limits { max_parallel_trials: 2 }"));
  const LeaseRef first = Claim(1);
  const auto paused = store().PauseStudy("studies/j1", {"p", "b"});
  ASSERT_OK(paused);
  EXPECT_EQ(paused->state(), v1::STUDY_STATE_PAUSED);
  EXPECT_EQ(JobOf(1).state(), v1::JOB_STATE_PAUSING);
  EXPECT_EQ(JobOf(2).state(), v1::JOB_STATE_PAUSED);
  EXPECT_OK(store().PauseStudy("studies/j1", {"p", "b"})) << "the same request";
  EXPECT_EQ(ReasonOf(store().PauseStudy("studies/j1", {}).status()), kReasonWrongState);
  ASSERT_OK(store().FinishAttempt(first, 0, AttemptPaused{}));
  AdvanceNow();
  EXPECT_EQ(TrialOf(3).state(), v1::TRIAL_STATE_PENDING);
  const auto resumed = store().ResumeStudy("studies/j1", {});
  ASSERT_OK(resumed);
  for (const int trial : {1, 2}) EXPECT_EQ(JobOf(trial).state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(ReasonOf(store().ResumeStudy("studies/j1", {}).status()), kReasonWrongState);
}

TEST_P(StudyTest, ACancelledStudyLeavesNoJobBehind) {
  Insert(RankStudy(3, kHalving));
  const LeaseRef first = Claim(1);
  WaitAt(Claim(2), 10, 1.0);
  const auto cancelled = store().CancelStudy("studies/j1", {});
  ASSERT_OK(cancelled);
  EXPECT_EQ(cancelled->state(), v1::STUDY_STATE_CANCELLED);
  EXPECT_EQ(JobOf(1).state(), v1::JOB_STATE_CANCELLING);
  EXPECT_EQ(JobOf(2).state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(JobOf(3).state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(store().CancelStudy("studies/j1", {})->state(), v1::STUDY_STATE_CANCELLED);
  EXPECT_EQ(ReasonOf(store().ResumeStudy("studies/j1", {}).status()), kReasonWrongState);
  EXPECT_EQ(StudyEvents().back().state_change().to(), v1::STUDY_STATE_CANCELLED);
}

TEST_P(StudyTest, TimeEndsAStudyWithTheBestSoFar) {
  Insert(RankStudy(2, "limits { max_seconds: 100 }"));
  Succeed(Claim(1), 1.0);
  const LeaseRef second = Claim(2);
  EXPECT_EQ(AdvanceNow().next, store().RunningTime() + absl::Seconds(100));
  fixture_.clock().Advance(absl::Seconds(101));
  EXPECT_TRUE(AdvanceNow().done);
  EXPECT_EQ(Get().best_trial(), 1);
  EXPECT_EQ(TrialOf(2).state(), v1::TRIAL_STATE_STOPPED);
  EXPECT_EQ(JobOf(2).state(), v1::JOB_STATE_CANCELLING);
}

TEST_P(StudyTest, ItsTimeStandsStillWhileItIsPaused) {
  Insert(RankStudy(1, "limits { max_seconds: 100 }"));
  fixture_.clock().Advance(absl::Seconds(60));
  ASSERT_OK(store().PauseStudy("studies/j1", {}));
  fixture_.clock().Advance(absl::Hours(9));
  EXPECT_FALSE(AdvanceNow().done);
  ASSERT_OK(store().ResumeStudy("studies/j1", {}));
  EXPECT_EQ(AdvanceNow().next, store().RunningTime() + absl::Seconds(40));
  // A second time, too.
  ASSERT_OK(store().PauseStudy("studies/j1", {}));
  fixture_.clock().Advance(absl::Hours(9));
  ASSERT_OK(store().ResumeStudy("studies/j1", {}));
  EXPECT_EQ(AdvanceNow().next, store().RunningTime() + absl::Seconds(40));
  fixture_.clock().Advance(absl::Seconds(41));
  AdvanceNow();
  EXPECT_THAT(TrialOf(1).state_reason(), HasSubstr("limits.max_seconds 100"));
}

TEST_P(StudyTest, OpenOnesAreCountedByTheirStates) {
  EXPECT_THAT(store().Counts()->open_studies, IsEmpty());
  Insert(RankStudy(1));
  const v1::Study second = Insert(RankStudy(1));
  ASSERT_OK(store().PauseStudy(second.name(), {}));
  EXPECT_THAT(
      store().Counts()->open_studies,
      UnorderedElementsAre(Pair(v1::STUDY_STATE_RUNNING, 1), Pair(v1::STUDY_STATE_PAUSED, 1)));
  ASSERT_OK(store().CancelStudy(second.name(), {}));
  EXPECT_THAT(store().Counts()->open_studies,
              UnorderedElementsAre(Pair(v1::STUDY_STATE_RUNNING, 1)));
}

TEST_P(StudyTest, ItsFilesLieBesideTheBestAdapter) {
  files_ = {StoreFixture::File("study.csv", 't')};
  Insert(RankStudy(1, "output_name: 'best'"));
  Succeed(Claim(1), 1.0);
  EXPECT_TRUE(AdvanceNow().done);
  const v1::Adapter trial = *store().GetAdapter("best-1");
  v1::Adapter best = *store().GetAdapter("best");
  EXPECT_EQ(best.sha256(), ManifestSha256(ToManifest(best.files())));
  EXPECT_NE(best.sha256(), trial.sha256());
  EXPECT_EQ(best.size_bytes(), trial.size_bytes() + files_[0].size_bytes());
  ASSERT_EQ(best.files_size(), trial.files_size() + 1);
  EXPECT_EQ(best.files().rbegin()->path(), "study.csv");
}

TEST_P(StudyTest, OnlyOneThatIsEndingCanBeFinished) {
  Insert(RankStudy(1));
  EXPECT_FALSE(store().FinishStudy("studies/j1", {})->done);
  EXPECT_EQ(Get().state(), v1::STUDY_STATE_RUNNING);
  Succeed(Claim(1), 1.0);
  ASSERT_OK(store().PauseStudy("studies/j1", {}));
  EXPECT_FALSE(store().FinishStudy("studies/j1", {})->done) << "it is paused";
  ASSERT_OK(store().ResumeStudy("studies/j1", {}));
  EXPECT_TRUE(store().AdvanceStudy("studies/j1")->ending);
  EXPECT_EQ(Get().state(), v1::STUDY_STATE_RUNNING);
  EXPECT_TRUE(store().FinishStudy("studies/j1", {})->done);
  EXPECT_FALSE(store().FinishStudy("studies/j1", {})->done) << "a second time";
  EXPECT_EQ(store().FinishStudy("studies/none", {}).status().code(), absl::StatusCode::kNotFound);
}

TEST_P(StudyTest, ANameThatWasTakenMeanwhileIsSaid) {
  Insert(RankStudy(1, "output_name: 'best'"));
  ASSERT_OK(store().InsertAdapter(StoreFixture::NewAdapter("best")));
  Succeed(Claim(1), 1.0);
  EXPECT_EQ(AdvanceNow().adapter, "");
  EXPECT_THAT(Get().state_reason(),
              HasSubstr("it stays best-1: another adapter has the name best"));
}

TEST_P(StudyTest, WhatPeopleDoToATrialIsTakenAsItIs) {
  Insert(RankStudy(3));
  ASSERT_OK(store().CancelJob(TrialOf(1).job(), {}));
  AdvanceNow();
  EXPECT_EQ(TrialOf(1).state(), v1::TRIAL_STATE_CANCELLED);
  ASSERT_OK(store().CancelJob(TrialOf(2).job(), {}));
  ASSERT_OK(store().DeleteJob(TrialOf(2).job(), false, {}));
  AdvanceNow();
  EXPECT_THAT(TrialOf(2).state_reason(), HasSubstr("deleted"));
  Succeed(Claim(3), 1.0);
  EXPECT_TRUE(AdvanceNow().done);
  EXPECT_EQ(Get().best_trial(), 3);
}

TEST_P(StudyTest, WithoutAnObjectiveTrialsOnlyRun) {
  NewStudy made = RankStudy(2);
  made.study.clear_objective();
  Insert(made);
  Succeed(Claim(1), 1.0);
  FailNow(Claim(2));
  AdvanceNow();
  EXPECT_EQ(Get().state(), v1::STUDY_STATE_SUCCEEDED);
  EXPECT_THAT(Get().state_reason(), HasSubstr("1 of 2 trials succeeded"));
  EXPECT_EQ(Get().best_trial(), 0);
}

TEST_P(StudyTest, OnlyAStudyThatIsDoneIsDeleted) {
  Insert(RankStudy(1));
  EXPECT_EQ(ReasonOf(store().DeleteStudy("studies/j1")), kReasonNotDone);
  ASSERT_OK(store().CancelStudy("studies/j1", {}));
  const std::string job = TrialOf(1).job();
  ASSERT_OK(store().DeleteStudy("studies/j1"));
  EXPECT_EQ(store().GetStudy("studies/j1").status().code(), absl::StatusCode::kNotFound);
  EXPECT_OK(store().GetJob(job));
  EXPECT_EQ(store().AdvanceStudy("studies/j1").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store().ReadStudyEvents("studies/j1", 0, 10).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_P(StudyTest, StudiesArePagedNewestFirst) {
  for (int i = 0; i < 3; ++i) Insert(RankStudy(1));
  const auto first = store().ListStudies(2, "");
  ASSERT_OK(first);
  ASSERT_THAT(first->items, SizeIs(2));
  EXPECT_EQ(first->items[0].name(), "studies/j5");
  const auto second = store().ListStudies(2, first->next_page_token);
  ASSERT_OK(second);
  ASSERT_THAT(second->items, SizeIs(1));
  EXPECT_EQ(second->items[0].name(), "studies/j1");
  EXPECT_EQ(second->next_page_token, "");
  EXPECT_EQ(store().ListStudies(2, "x").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace graft
