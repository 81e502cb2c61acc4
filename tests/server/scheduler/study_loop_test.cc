#include "server/scheduler/study_loop.h"

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
  // The n-th advance, from 1.
  std::pair<std::string, StudyAdvance> Await(size_t n) {
    Clock& clock = Clock::Real();
    const absl::Duration deadline = clock.Boottime() + absl::Seconds(30);
    MutexLock lock(mutex_);
    while (advances_.size() < n && clock.WaitUntil(changed_, mutex_, deadline)) {
    }
    return advances_.size() < n ? std::pair<std::string, StudyAdvance>() : advances_[n - 1];
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<std::pair<std::string, StudyAdvance>> advances_ ABSL_GUARDED_BY(mutex_);
};

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
  const StudyLoop loop(fixture_.store(), fixture_.clock(), told_.Listener());
  const auto [study, advance] = told_.Await(1);
  EXPECT_EQ(study, "studies/j1");
  EXPECT_TRUE(advance.done);
}

TEST_F(StudyLoopTest, EachEndOfATrialLetsItsStudyGoOn) {
  const StudyLoop loop(fixture_.store(), fixture_.clock(), told_.Listener());
  Insert(RankStudy(2, "limits { max_parallel_trials: 1 }"));
  fixture_.Submit();  // Of no study: nothing is asked for its sake.
  ASSERT_OK(fixture_.store().CancelJob("jobs/j3", {}));
  CancelTrial(1);
  EXPECT_FALSE(told_.Await(1).second.done);
  CancelTrial(2);
  EXPECT_TRUE(told_.Await(2).second.done);
}

TEST_F(StudyLoopTest, TimeLimitsAreLookedAtWhenTheyAreOver) {
  Insert(RankStudy(1, "limits { max_seconds: 100 }"));
  StudyLoop loop(fixture_.store(), fixture_.clock(), told_.Listener());
  EXPECT_FALSE(told_.Await(1).second.done);
  fixture_.clock().Advance(absl::Seconds(101));
  EXPECT_TRUE(told_.Await(2).second.done);
}

TEST_F(StudyLoopTest, ADeletedStudyIsForgotten) {
  Insert(RankStudy(1));
  ASSERT_OK(fixture_.store().CancelStudy("studies/j1", {}));
  ASSERT_OK(fixture_.store().DeleteStudy("studies/j1"));
  StudyLoop loop(fixture_.store(), fixture_.clock(), told_.Listener());
  loop.Wake("studies/j1");
  const std::string other = Insert(RankStudy(1)).name();
  loop.Wake(other);
  EXPECT_EQ(told_.Await(1).first, other);
}

}  // namespace
}  // namespace graft
