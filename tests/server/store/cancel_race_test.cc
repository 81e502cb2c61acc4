#include <latch>
#include <string>
#include <thread>

#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

constexpr int kRaces = 1000;

// A cancel that meets the end of an attempt: whichever is first, the job has one end state, which
// both callers, the log and what is published agree about.
class CancelRaceTest : public StoreTest {
 protected:
  static AttemptOutcome OutcomeOf(int race) {
    switch (race % 4) {
      case 0:
      case 1:
        return StoreFixture::Success();
      case 2:
        return StoreFixture::Failure(v1::FAILURE_CLASS_DATA, "line 17 is broken");
      default:
        return AttemptPaused();
    }
  }

  // Lets go of both at once.
  void Race(const LeaseRef& lease, const AttemptOutcome& outcome) {
    std::latch begin(2);
    absl::StatusOr<v1::Job> cancelled;
    std::thread user([&] {
      begin.arrive_and_wait();
      cancelled = store().CancelJob(lease.job, {});
    });
    begin.arrive_and_wait();
    const auto finished = store().FinishAttempt(lease, 0, outcome);
    user.join();
    ASSERT_OK(cancelled);
    ASSERT_OK(finished);
    if (cancelled->state() == v1::JOB_STATE_CANCELLING) ++cancelled_first_;
    if (cancelled->done()) {
      EXPECT_EQ(cancelled->state(), fixture_.Get(lease.job).state());
    }
    if (IsEnd(*finished)) {
      EXPECT_EQ(*finished, fixture_.Get(lease.job).state());
    }
  }

  static bool IsEnd(v1::JobState state) {
    return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED ||
           state == v1::JOB_STATE_CANCELLED;
  }

  void ExpectOneEnd(const v1::Job& job) {
    int ends = 0;
    const auto events = fixture_.Events(job.name());
    for (const v1::JobEvent& event : events) {
      if (IsEnd(event.state_change().to())) ++ends;
    }
    EXPECT_EQ(ends, 1);
    EXPECT_EQ(events.back().state_change().to(), job.state());
    const bool succeeded = job.state() == v1::JOB_STATE_SUCCEEDED;
    EXPECT_EQ(!job.result().adapter().empty(), succeeded);
    EXPECT_EQ(store().GetAdapter(job.name().substr(5)).ok(), succeeded);
  }

  int cancelled_first_ = 0;
};
INSTANTIATE_ON_EVERY_STORE(CancelRaceTest);

TEST_P(CancelRaceTest, ACancelThatMeetsTheEndLeavesOneEndState) {
  for (int race = 0; race < kRaces; ++race) {
    const LeaseRef lease = fixture_.Start(kWorker);
    Race(lease, OutcomeOf(race));
    const v1::Job job = fixture_.Get(lease.job);
    ASSERT_TRUE(job.done()) << race << ": " << v1::JobState_Name(job.state());
    ASSERT_NO_FATAL_FAILURE(ExpectOneEnd(job));
    ASSERT_FALSE(HasFailure()) << "race " << race;
    // Who comes late changes nothing, and is told how it ended.
    EXPECT_EQ(store().CancelJob(lease.job, {})->state(), job.state());
    EXPECT_EQ(*store().FinishAttempt(lease, 0, AttemptCancelled()), job.state());
    EXPECT_EQ(fixture_.Get(lease.job).state(), job.state());
  }
  // Else it was no race.
  EXPECT_GT(cancelled_first_, 0);
  EXPECT_LT(cancelled_first_, kRaces);
  RecordProperty("cancelled_first", cancelled_first_);
}

}  // namespace
}  // namespace graft
