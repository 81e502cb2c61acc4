#include "server/scheduler/study_loop.h"

#include <atomic>
#include <string>
#include <vector>

#include "tests/server/store/studies.h"

namespace graft {
namespace {

// Waits for what a loop's thread has told; its own clock stands still.
class Told {
 public:
  StudyLoop::OnAdvance Listener() {
    return [this](const std::string& study, const StudyAdvance& advance) {
      MutexLock lock(mutex_);
      advances_.emplace_back(study, advance);
      changed_.NotifyAll();
    };
  }
  std::pair<std::string, StudyAdvance> AwaitNext() { return Await(++awaited_); }
  void AwaitDone() {
    while (!AwaitNext().second.done) {
    }
  }
  // The n-th advance, from 1.
  std::pair<std::string, StudyAdvance> Await(size_t n) {
    Clock& clock = Clock::Real();
    const absl::Duration deadline = clock.Boottime() + absl::Seconds(30);
    MutexLock lock(mutex_);
    while (advances_.size() < n && clock.WaitUntil(changed_, mutex_, deadline)) {
    }
    EXPECT_GE(advances_.size(), n) << "nothing more was told";
    return advances_.size() < n ? std::pair("", StudyAdvance{.done = true}) : advances_[n - 1];
  }

 private:
  size_t awaited_ = 0;
  Mutex mutex_;
  CondVar changed_;
  std::vector<std::pair<std::string, StudyAdvance>> advances_ ABSL_GUARDED_BY(mutex_);
};

absl::StatusOr<std::vector<v1::Artifact>> NoFiles(const v1::Study&) {
  return std::vector<v1::Artifact>();
}

class StudyLoopTest : public ::testing::Test {
 protected:
  v1::Study Insert(const NewStudy& study) { return *fixture_.store().InsertStudy(study); }
  void CancelTrial(int number) {
    const v1::Study study = *fixture_.store().GetStudy("studies/j1");
    ASSERT_OK(fixture_.store().CancelJob(study.trials(number - 1).job(), {}));
  }

  StoreFixture fixture_{StoreKind::kMemory};
  Told told_;
};

TEST_F(StudyLoopTest, WhatEndedWhileNobodyLookedIsTakenIn) {
  Insert(RankStudy(1));
  CancelTrial(1);
  const StudyLoop loop(fixture_.store(), fixture_.clock(), NoFiles, told_.Listener());
  const auto [study, advance] = told_.Await(1);
  EXPECT_EQ(study, "studies/j1");
  EXPECT_TRUE(advance.done);
}

TEST_F(StudyLoopTest, AStudyEndsWithItsFilesOnceTheyAreMade) {
  Insert(RankStudy(1, "output_name: 'best'"));
  const Claim claim = *fixture_.ClaimNext(kWorker);
  AttemptSucceeded success = StoreFixture::Success();
  (*success.result.mutable_metrics())["eval/loss"] = 1.0;
  ASSERT_OK(fixture_.store().FinishAttempt(fixture_.LeaseOf(claim, kWorker), 0, success));
  std::atomic<int> calls = 0;
  const auto make = [&](const v1::Study& study) -> absl::StatusOr<std::vector<v1::Artifact>> {
    EXPECT_EQ(study.trials(0).value(), 1.0);
    if (++calls == 1) return absl::ResourceExhaustedError("the disk is full");
    return std::vector<v1::Artifact>{StoreFixture::File("study.csv", 't')};
  };
  const StudyLoop loop(fixture_.store(), fixture_.clock(), make, told_.Listener());
  while (calls < 2) fixture_.clock().Advance(absl::Seconds(6));
  told_.AwaitDone();
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(fixture_.store().GetAdapter("best")->files().rbegin()->path(), "study.csv");
}

TEST_F(StudyLoopTest, EachEndOfATrialLetsItsStudyGoOn) {
  const StudyLoop loop(fixture_.store(), fixture_.clock(), NoFiles, told_.Listener());
  fixture_.Submit();  // Of no study: nothing is asked for its sake.
  ASSERT_OK(fixture_.store().CancelJob("jobs/j1", {}));
  const std::string study = Insert(RankStudy(2, "limits { max_parallel_trials: 1 }")).name();
  const auto trial = [&](int i) { return fixture_.store().GetStudy(study)->trials(i); };
  ASSERT_OK(fixture_.store().CancelJob(trial(0).job(), {}));
  while (told_.AwaitNext().first == study && trial(1).job().empty()) {
  }
  ASSERT_OK(fixture_.store().CancelJob(trial(1).job(), {}));
  told_.AwaitDone();
}

TEST_F(StudyLoopTest, TimeLimitsAreLookedAtWhenTheyAreOver) {
  Insert(RankStudy(1, "limits { max_seconds: 100 }"));
  const StudyLoop loop(fixture_.store(), fixture_.clock(), NoFiles, told_.Listener());
  EXPECT_FALSE(told_.AwaitNext().second.done);
  fixture_.clock().Advance(absl::Seconds(101));
  told_.AwaitDone();
}

TEST_F(StudyLoopTest, TheTimeLimitOfAStudyThatIsMadeLaterIsLookedAt) {
  const StudyLoop loop(fixture_.store(), fixture_.clock(), NoFiles, told_.Listener());
  Insert(RankStudy(1, "limits { max_seconds: 100 }"));
  EXPECT_FALSE(told_.AwaitNext().second.done);
  fixture_.clock().Advance(absl::Seconds(101));
  told_.AwaitDone();
}

TEST_F(StudyLoopTest, WhatHadNoRoomInTheQueueIsTriedAgain) {
  fixture_.options().max_queued_jobs = 1;
  fixture_.Reopen();
  StoreFixture::Fill(fixture_.store());
  const StudyLoop loop(fixture_.store(), fixture_.clock(), NoFiles, told_.Listener());
  Insert(RankStudy(2));
  EXPECT_TRUE(told_.AwaitNext().second.blocked);
  EXPECT_OK(fixture_.ClaimNext(kWorker));
  fixture_.clock().Advance(absl::Seconds(6));
  while (told_.AwaitNext().second.blocked) {
  }
}

TEST_F(StudyLoopTest, ADeletedStudyIsForgotten) {
  Insert(RankStudy(1));
  ASSERT_OK(fixture_.store().CancelStudy("studies/j1", {}));
  ASSERT_OK(fixture_.store().DeleteStudy("studies/j1"));
  const StudyLoop loop(fixture_.store(), fixture_.clock(), NoFiles, told_.Listener());
  const std::string other = Insert(RankStudy(1)).name();
  EXPECT_EQ(told_.Await(1).first, other);
}

}  // namespace
}  // namespace graft
