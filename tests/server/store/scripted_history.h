#pragma once

// What becomes of the jobs of one store in a few months, told in some hundred calls, one after the
// other: every verb that writes, many times, each with success.

#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/jobs/timestamps.h"
#include "tests/server/store/studies.h"

namespace graft {

class ScriptedHistory {
 public:
  // `clock` is the store's, which marks ends; StoreFixture::Fill has been there. `answered` is told
  // of each call that has answered, `claimed` of each lease as well.
  ScriptedHistory(JobStore& store, FakeClock& clock, std::function<void()> answered,
                  std::function<void(const LeaseRef&)> claimed)
      : store_(store),
        clock_(clock),
        answered_(std::move(answered)),
        claimed_(std::move(claimed)) {}

  // Each some 90 calls.
  void Run(int rounds) {
    for (round_ = 1; round_ <= rounds; ++round_) {
      FillCatalogue();
      Succeed();
      FailAndRetry();
      PauseAndLose();
      MakeWay();
      ComeTooLate();
      SubmitTogether();
      Study();
      CleanUp();
      KeepHouse();
    }
  }
  int calls() const { return calls_; }

 private:
  template <typename T>
  T Did(absl::StatusOr<T> answer) {
    EXPECT_OK(answer) << "call " << calls_ + 1;
    ++calls_;
    answered_();
    return answer.ok() ? *std::move(answer) : T();
  }
  void Did(const absl::Status& answer) {
    EXPECT_OK(answer) << "call " << calls_ + 1;
    ++calls_;
    answered_();
  }
  std::string Named(const char* what) const { return absl::StrCat(what, "-", round_); }
  RequestKey NextRequest() { return {absl::StrCat("request-", ++requests_), "body"}; }

  std::string Submit(int priority = 0, absl::Time deadline = absl::InfiniteFuture()) {
    NewJob job = StoreFixture::LoraJob(priority);
    job.request = NextRequest();
    if (deadline != absl::InfiniteFuture()) *job.job.mutable_deadline() = ToTimestamp(deadline);
    return Did(store_.InsertJob(job)).name();
  }
  LeaseRef Take(const std::string& job, const WorkerRef& worker = kWorker) {
    const std::vector<QueuedJob> queue = *store_.QueuedJobs(1000);
    for (const QueuedJob& queued : queue) {
      if (queued.name != job) continue;
      const std::string request = NextRequest().id;
      const Claim claim = Did(store_.ClaimJob({job, queued.version, worker, request}));
      EXPECT_EQ(Did(store_.FindClaim(worker, request)).lease_epoch, claim.lease_epoch);
      claimed_({job, claim.lease_epoch, worker});
      return {job, claim.lease_epoch, worker};
    }
    ADD_FAILURE() << job << " is not in the queue";
    return {};
  }
  void Save(const LeaseRef& lease, int64_t step) {
    NewCheckpoint checkpoint = {step, {}, {}};
    checkpoint.execution.set_device("cpu");
    checkpoint.execution.set_precision("fp32");
    for (const char* name : {"state.safetensors", "trainer_state.json"}) {
      checkpoint.files.push_back(StoreFixture::File(name, "0123456789abcdef"[++files_ % 16]));
    }
    Did(store_.CommitCheckpoint(lease, checkpoint));
  }
  void Report(const LeaseRef& lease, int64_t batch, int64_t step) {
    v1::JobEvent evaluation;
    evaluation.mutable_evaluation()->set_step(step);
    (*evaluation.mutable_evaluation()->mutable_values())["eval/loss"] = 1.0 / step;
    EventBatch events =
        StoreFixture::Batch(batch, {StoreFixture::LossEvent(step, 2.0 / step), evaluation});
    events.stage = v1::JOB_STAGE_TRAINING;
    events.step = step;
    Did(store_.AppendEvents(lease, events));
  }

  void FillCatalogue() {
    v1::Dataset dataset;
    dataset.set_name(Named("data"));
    dataset.set_sha256(std::string(64, '5'));
    Did(store_.InsertDataset(dataset));
    v1::Model model;
    model.set_name(Named("model"));
    model.set_sha256(std::string(64, '6'));
    *model.add_files() = StoreFixture::File("model.safetensors", '6');
    Did(store_.InsertModel(model));
    const std::string replaced = model.sha256();
    model.set_sha256(std::string(64, '7'));
    Did(store_.ReplaceModel(replaced, model));
    Did(store_.InsertAdapter(StoreFixture::NewAdapter(Named("adapter"))));
  }
  void Succeed() {
    const LeaseRef lease = Take(Submit());
    for (int64_t step = 1; step <= 5; ++step) {
      Report(lease, step, step);
      Save(lease, step);
      if (step == 1) Did(store_.PinCheckpoint(absl::StrCat(lease.job, "/checkpoints/1"), true));
    }
    Did(store_.CheckpointJob(lease.job, NextRequest()));
    Did(store_.RenewLeases(lease.worker, {{lease.job, lease.lease_epoch}}));
    Did(store_.FinishAttempt(lease, 5, StoreFixture::Success()));
    succeeded_ = lease.job;
  }
  void FailAndRetry() {
    const LeaseRef failing = Take(Submit());
    Save(failing, 1);
    Did(store_.FinishAttempt(failing, 0, StoreFixture::Failure(v1::FAILURE_CLASS_DATA, "row 3")));
    const std::string retry = Did(store_.RetryJob(failing.job, false, NextRequest())).name();
    const LeaseRef cancelled = Take(retry);
    Save(cancelled, 2);
    Did(store_.SaveAndCancelJob(retry, NextRequest()));
    Did(store_.FinishAttempt(cancelled, 0, AttemptCancelled()));
  }
  void PauseAndLose() {
    const std::string job = Submit();
    Did(store_.PauseJob(job, NextRequest()));
    Did(store_.ResumeJob(job, NextRequest()));
    JobUpdate update;
    update.display_name = Named("paused");
    update.labels["round"] = absl::StrCat(round_);
    Did(store_.UpdateJob(job, update, NextRequest()));
    const LeaseRef paused = Take(job);
    Did(store_.PauseJob(job, NextRequest()));
    Save(paused, 1);
    Did(store_.FinishAttempt(paused, 0, AttemptPaused()));
    Did(store_.ResumeJob(job, NextRequest()));
    Take(job, kOtherWorker);
    clock_.Advance(absl::Seconds(61));
    EXPECT_EQ(Did(store_.ExpireLeases()).size(), 1u);
    clock_.Advance(absl::Minutes(2));
    Take(job);
    EXPECT_EQ(Did(store_.ReleaseOtherInstances({kWorker.id, "started anew"})).size(), 1u);
    Did(store_.ForgiveFailures(job, 1));
    Did(store_.CancelJob(job, NextRequest()));
  }
  void MakeWay() {
    const LeaseRef lease = Take(Submit());
    const std::string urgent = Submit(/*priority=*/9);
    Did(store_.PreemptJob((*store_.HeldJobs())[0], urgent));
    Save(lease, 1);
    Did(store_.FinishAttempt(lease, 0, AttemptPaused()));
    Did(store_.CancelJob(lease.job, NextRequest()));
    Did(store_.CancelJob(urgent, NextRequest()));
  }
  void ComeTooLate() {
    Submit(0, clock_.Now() + absl::Seconds(10));
    clock_.Advance(absl::Seconds(11));
    EXPECT_EQ(Did(store_.EndOverdue()).size(), 1u);
  }
  // Callers at the same time, some of whom share commits.
  void SubmitTogether() {
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([this] { EXPECT_OK(store_.InsertJob(StoreFixture::LoraJob(-1))); });
    }
    for (std::thread& thread : threads) thread.join();
    calls_ += 7;
    Did(absl::OkStatus());
  }
  void Study() {
    NewStudy made = RankStudy(2, absl::StrCat(kHalving, " output_name: '", Named("best"), "'"));
    made.request = NextRequest();
    const v1::Study study = Did(store_.InsertStudy(made));
    for (const v1::Trial& trial : study.trials()) {
      const LeaseRef lease = Take(trial.job());
      Report(lease, 1, 10);
      Save(lease, 10);
      Did(store_.FinishAttempt(lease, 1, AttemptPaused()));
      Did(store_.AdvanceStudy(study.name()));
    }
    Did(store_.PauseStudy(study.name(), NextRequest()));
    Did(store_.ResumeStudy(study.name(), NextRequest()));
    // Of equal ones the first goes on.
    Did(store_.FinishAttempt(Take(study.trials(0).job()), 0, StoreFixture::Success()));
    EXPECT_TRUE(Did(store_.AdvanceStudy(study.name())).ending);
    EXPECT_TRUE(Did(store_.FinishStudy(study.name(), {})).done);
    Did(store_.DeleteAdapter(Named("best")));
    Did(store_.DeleteAdapter(absl::StrCat(Named("best"), "-1")));
    Did(store_.DeleteStudy(study.name()));
    const v1::Study given_up = Did(store_.InsertStudy(RankStudy(2)));
    Did(store_.CancelStudy(given_up.name(), NextRequest()));
  }
  void CleanUp() {
    Did(store_.DeleteJob(succeeded_, /*delete_adapter=*/true, NextRequest()));
    JobPurge purge;
    purge.filter = *ParseJobFilter("state = CANCELLED");
    purge.force = true;
    purge.request = NextRequest();
    Did(store_.PurgeJobs(purge, [](const auto&) { return absl::OkStatus(); }));
    Did(store_.DeleteDataset(Named("data")));
    Did(store_.DeleteAdapter(Named("adapter")));
    Did(store_.DeleteModel(Named("model")));
    const std::vector<std::string> released = *store_.ReleasedBlobs();
    Did(store_.ForgetReleasedBlobs(released));
  }
  void KeepHouse() {
    clock_.Advance(absl::Hours(24 * 30));
    Did(store_.SaveRunningTime());
    Did(store_.Ping());
    Did(store_.PruneRequestIds());
    Did(store_.PruneCheckpoints());
    const std::vector<std::string> ends = *store_.MarkedEnds(1000);
    for (const std::string& job : ends) Did(store_.ForgetEnd(job));
    Did(store_.PruneJobs());
    Did(store_.PurgeDeleted());
    const UnnamedBlob blob = {std::string(64, '8'), round_, absl::ZeroDuration()};
    Did(store_.NoteUnnamedBlobs({blob}));
    if (round_ % 2 == 0) Did(store_.ForgetUnnamedBlobs({blob.sha256}));
  }

  JobStore& store_;
  FakeClock& clock_;
  const std::function<void()> answered_;
  const std::function<void(const LeaseRef&)> claimed_;
  int round_ = 0;
  int calls_ = 0;
  int requests_ = 0;
  int files_ = 0;
  std::string succeeded_;
};

}  // namespace graft
