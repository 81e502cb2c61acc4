#include "common/jobs/job_state.h"

#include <set>
#include <utility>

#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "common/jobs/timestamps.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using v1::JobState;

constexpr absl::Time kNow = absl::FromUnixSeconds(1'750'000'000);

// design.md's list, less what is not served yet, written a second time on purpose.
const std::set<std::pair<JobState, JobState>> kAllowed = {
    {v1::JOB_STATE_UNSPECIFIED, v1::JOB_STATE_QUEUED},
    {v1::JOB_STATE_QUEUED, v1::JOB_STATE_RUNNING},
    {v1::JOB_STATE_QUEUED, v1::JOB_STATE_PAUSED},
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_PAUSED},
    {v1::JOB_STATE_QUEUED, v1::JOB_STATE_CANCELLED},
    {v1::JOB_STATE_QUEUED, v1::JOB_STATE_FAILED},
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_SUCCEEDED},
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_FAILED},
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_PAUSING},
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_CANCELLING},
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_QUEUED},
    {v1::JOB_STATE_PAUSING, v1::JOB_STATE_PAUSED},
    {v1::JOB_STATE_PAUSING, v1::JOB_STATE_CANCELLING},
    {v1::JOB_STATE_PAUSING, v1::JOB_STATE_SUCCEEDED},
    {v1::JOB_STATE_PAUSING, v1::JOB_STATE_FAILED},
    {v1::JOB_STATE_PAUSED, v1::JOB_STATE_QUEUED},
    {v1::JOB_STATE_PAUSED, v1::JOB_STATE_CANCELLED},
    {v1::JOB_STATE_PAUSED, v1::JOB_STATE_FAILED},
    {v1::JOB_STATE_CANCELLING, v1::JOB_STATE_CANCELLED},
    {v1::JOB_STATE_CANCELLING, v1::JOB_STATE_SUCCEEDED},
    {v1::JOB_STATE_CANCELLING, v1::JOB_STATE_FAILED},
};

TEST(JobStateTest, EveryPairOfStatesIsAllowedOrRefusedAsTheTableSays) {
  for (int from = 0; from < v1::JobState_ARRAYSIZE; ++from) {
    for (int to = 0; to < v1::JobState_ARRAYSIZE; ++to) {
      const auto pair = std::make_pair(JobState(from), JobState(to));
      const bool allowed = kAllowed.count(pair) > 0;
      EXPECT_EQ(MayChange(pair.first, pair.second), allowed)
          << StateName(pair.first) << " to " << StateName(pair.second);
      v1::Job job;
      job.set_name("jobs/a");
      job.set_state(pair.first);
      const v1::Job before = job;
      const auto event = ChangeState(job, pair.second, {"because"}, kNow);
      EXPECT_EQ(event.ok(), allowed);
      if (allowed) {
        EXPECT_EQ(job.state(), pair.second);
        EXPECT_EQ(job.done(), IsFinal(pair.second));
        EXPECT_EQ(job.has_end_time(), IsFinal(pair.second));
        EXPECT_EQ(event->state_change().from(), pair.first);
        EXPECT_EQ(event->state_change().to(), pair.second);
        EXPECT_EQ(event->state_change().reason(), "because");
      } else {
        EXPECT_EQ(event.status().code(), absl::StatusCode::kFailedPrecondition);
        EXPECT_EQ(ReasonOf(event.status()), kReasonWrongState);
        EXPECT_EQ(job.SerializeAsString(), before.SerializeAsString());
      }
    }
  }
}

TEST(JobStateTest, FinalStatesHaveNoWayOut) {
  for (int from = 0; from < v1::JobState_ARRAYSIZE; ++from) {
    if (!IsFinal(JobState(from))) continue;
    for (int to = 0; to < v1::JobState_ARRAYSIZE; ++to) {
      EXPECT_FALSE(MayChange(JobState(from), JobState(to)));
    }
  }
}

TEST(JobStateTest, TimesTellOfTheFirstStartAndTheEnd) {
  v1::Job job;
  ASSERT_TRUE(ChangeState(job, v1::JOB_STATE_QUEUED, {}, kNow).ok());
  EXPECT_EQ(FromTimestamp(job.create_time()), kNow);
  EXPECT_FALSE(job.has_start_time());
  ASSERT_TRUE(ChangeState(job, v1::JOB_STATE_RUNNING, {}, kNow + absl::Seconds(1)).ok());
  ASSERT_TRUE(ChangeState(job, v1::JOB_STATE_QUEUED, {}, kNow + absl::Seconds(2)).ok());
  ASSERT_TRUE(ChangeState(job, v1::JOB_STATE_RUNNING, {}, kNow + absl::Seconds(3)).ok());
  EXPECT_EQ(FromTimestamp(job.queue_time()), kNow + absl::Seconds(2));
  job.set_stage(v1::JOB_STAGE_TRAINING);
  job.set_eta_seconds(9);
  job.set_stage_done(3);
  job.set_stage_total(4);
  ASSERT_TRUE(ChangeState(job, v1::JOB_STATE_SUCCEEDED, {}, kNow + absl::Seconds(4)).ok());
  EXPECT_EQ(FromTimestamp(job.start_time()), kNow + absl::Seconds(1));
  EXPECT_EQ(FromTimestamp(job.end_time()), kNow + absl::Seconds(4));
  EXPECT_EQ(job.stage(), v1::JOB_STAGE_UNSPECIFIED);
  EXPECT_EQ(job.eta_seconds(), 0);
  EXPECT_EQ(job.stage_done(), 0);
  EXPECT_EQ(job.stage_total(), 0);
}

TEST(JobStateTest, FailureIsOnTheJobAndInTheEvent) {
  v1::Job job;
  job.set_state(v1::JOB_STATE_RUNNING);
  ChangeReason reason = {"line 17 is broken"};
  reason.error.set_message("line 17");
  reason.failure_class = v1::FAILURE_CLASS_DATA;
  const auto event = ChangeState(job, v1::JOB_STATE_FAILED, reason, kNow);
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(job.error().message(), "line 17");
  EXPECT_EQ(job.failure_class(), v1::FAILURE_CLASS_DATA);
  EXPECT_EQ(event->state_change().error().message(), "line 17");
}

TEST(JobStateTest, NamesOfStatesReadBack) {
  for (int state = 1; state < v1::JobState_ARRAYSIZE; ++state) {
    EXPECT_EQ(StateFromName(StateName(JobState(state))), state);
  }
  EXPECT_EQ(StateName(v1::JOB_STATE_QUEUED), "QUEUED");
  EXPECT_EQ(StateFromName("queued"), v1::JOB_STATE_UNSPECIFIED);
}

TEST(TimestampTest, TimesReadBackToTheNanosecond) {
  for (const absl::Time time : {kNow, kNow + absl::Nanoseconds(1), kNow - absl::Nanoseconds(1),
                                absl::UnixEpoch() - absl::Nanoseconds(1)}) {
    EXPECT_EQ(FromTimestamp(ToTimestamp(time)), time);
    EXPECT_GE(ToTimestamp(time).nanos(), 0);
  }
}

TEST(JobNameTest, NamesAreTakenWithAndWithoutTheirCollection) {
  EXPECT_EQ(*ParseJobId("jobs/abc"), "abc");
  EXPECT_EQ(*ParseJobId("abc"), "abc");
  EXPECT_EQ(JobName("abc"), "jobs/abc");
  for (const char* bad : {"", "jobs/", "jobs/a/b", "../x", ".a", "a b"}) {
    const auto id = ParseJobId(bad, "name");
    EXPECT_EQ(id.status().code(), absl::StatusCode::kInvalidArgument) << bad;
    ASSERT_EQ(FieldViolationsOf(id.status()).size(), 1u);
    EXPECT_EQ(FieldViolationsOf(id.status())[0].field(), "name");
  }
}

TEST(JobNameTest, NewIdsAreNamesAndDiffer) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(NewJobId());
  EXPECT_EQ(seen.size(), 1000u);
  for (const std::string& id : seen) {
    EXPECT_TRUE(ParseJobId(id).ok());
    EXPECT_EQ(id.size(), 12u);
  }
}

TEST(StatusDetailsTest, DetailsReadBackAndOtherPayloadsStay) {
  absl::Status status = absl::ResourceExhaustedError("the queue is full");
  status.SetPayload("x", absl::Cord("y"));
  status = WithRetryDelay(WithReason(status, kReasonQueueFull), absl::Milliseconds(1500));
  EXPECT_EQ(ReasonOf(status), kReasonQueueFull);
  EXPECT_EQ(RetryDelayOf(status), absl::Milliseconds(1500));
  EXPECT_EQ(*status.GetPayload("x"), absl::Cord("y"));
  EXPECT_EQ(ReasonOf(absl::InternalError("")), "");
  EXPECT_EQ(RetryDelayOf(absl::InternalError("")), absl::ZeroDuration());
  EXPECT_TRUE(WithReason(absl::OkStatus(), "X").ok());
}

TEST(StatusDetailsTest, OneStatusNamesAllViolations) {
  Violations violations;
  EXPECT_TRUE(violations.ToStatus().ok());
  violations.Add("a.b", "is wrong");
  violations.Add("c", "too");
  const absl::Status status = violations.ToStatus();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "a.b: is wrong; c: too");
  ASSERT_EQ(FieldViolationsOf(status).size(), 2u);
  EXPECT_EQ(FieldViolationsOf(status)[1].field(), "c");
  EXPECT_TRUE(FieldViolationsOf(absl::OkStatus()).empty());
}

}  // namespace
}  // namespace graft
