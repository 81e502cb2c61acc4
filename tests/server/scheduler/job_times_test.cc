#include "server/scheduler/job_times.h"

#include "common/jobs/timestamps.h"
#include "tests/server/store/changes_heard.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::Eq;

TEST(WorkOfTest, SeedsRatesAndNamesTakeNoTime) {
  v1::JobSpec spec = StoreFixture::LoraJob().job.resolved_spec();
  spec.mutable_fine_tune()->mutable_evaluation()->mutable_generation()->set_seed(42);
  v1::JobSpec other = spec;
  v1::FineTuneSpec& fine_tune = *other.mutable_fine_tune();
  fine_tune.mutable_training()->set_seed(7);
  fine_tune.mutable_training()->set_learning_rate(0.1);
  fine_tune.mutable_method()->mutable_lora()->set_learning_rate(0.1);
  fine_tune.mutable_evaluation()->mutable_generation()->set_seed(3);
  fine_tune.set_output_name("mine");
  EXPECT_EQ(WorkOf(other), WorkOf(spec));
  v1::JobSpec ranked = spec;
  ranked.mutable_fine_tune()->mutable_method()->mutable_lora()->set_rank(16);
  EXPECT_NE(WorkOf(ranked), WorkOf(spec));
  v1::JobSpec longer = spec;
  longer.mutable_fine_tune()->mutable_training()->set_epochs(2);
  EXPECT_NE(WorkOf(longer), WorkOf(spec));
}

TEST(WorkOfTest, AdaptersCountButAreAllAlike) {
  v1::JobSpec spec;
  const auto add = [](const std::string& name, v1::JobSpec& to) {
    to.mutable_evaluate()->add_adapters(name);
    to.mutable_evaluate()->add_adapters_sha256(name);
  };
  v1::JobSpec other = spec, more;
  add("a", spec);
  add("b", other);
  more = other;
  add("c", more);
  EXPECT_EQ(WorkOf(other), WorkOf(spec));
  EXPECT_NE(WorkOf(more), WorkOf(spec));
}

v1::Job Succeeded() {
  v1::Job job;
  job.set_state(v1::JOB_STATE_SUCCEEDED);
  v1::Attempt& attempt = *job.add_attempts();
  attempt.set_device("cpu");
  *attempt.mutable_start_time() = ToTimestamp(absl::FromUnixSeconds(100));
  *attempt.mutable_end_time() = ToTimestamp(absl::FromUnixSeconds(160));
  return job;
}

TEST(MeasuredTimeTest, OnlyAWholeRunIsAMeasurement) {
  const auto measured = MeasuredTimeOf(Succeeded());
  ASSERT_TRUE(measured.has_value());
  EXPECT_EQ(measured->device, "cpu");
  EXPECT_EQ(measured->time, absl::Minutes(1));

  v1::Job failed = Succeeded();
  failed.set_state(v1::JOB_STATE_FAILED);
  EXPECT_FALSE(MeasuredTimeOf(failed).has_value());
  v1::Job twice = Succeeded();
  *twice.add_attempts() = twice.attempts(0);
  EXPECT_FALSE(MeasuredTimeOf(twice).has_value());
  v1::Job resumed = Succeeded();
  resumed.mutable_attempts(0)->set_resumed_from_step(3);
  EXPECT_FALSE(MeasuredTimeOf(resumed).has_value());
  v1::Job date_set_back = Succeeded();
  *date_set_back.mutable_attempts(0)->mutable_end_time() = ToTimestamp(absl::FromUnixSeconds(99));
  EXPECT_FALSE(MeasuredTimeOf(date_set_back).has_value());
}

class JobTimesTest : public ::testing::Test {
 protected:
  // A job that takes so long on a CPU.
  void Run(absl::Duration time) {
    const LeaseRef lease = fixture_.Start(kWorker);
    v1::JobEvent began;
    began.mutable_stage_change()->set_stage(v1::JOB_STAGE_TRAINING);
    began.mutable_stage_change()->set_device("cpu");
    ASSERT_OK(fixture_.store().AppendEvents(lease, StoreFixture::Batch(1, {began})));
    fixture_.clock().Advance(time);
    AttemptSucceeded success = StoreFixture::Success();
    ASSERT_OK(fixture_.store().RenewLeases(kWorker, {{lease.job, lease.lease_epoch}}));
    ASSERT_OK(fixture_.store().FinishAttempt(lease, 1, success));
    changes_.WaitForAll();
  }

  StoreFixture fixture_{StoreKind::kMemory};
  JobTimes times_{fixture_.store()};
  ChangesHeard changes_{fixture_.store()};
  const std::string work_ = WorkOf(StoreFixture::LoraJob().job.resolved_spec());
};

TEST_F(JobTimesTest, TheMedianOfTheLastRunsCounts) {
  ASSERT_OK(times_.Refresh());
  EXPECT_THAT(times_.Typical(work_, "cpu"), Eq(std::nullopt));
  for (const int seconds : {50, 10, 20}) Run(absl::Seconds(seconds));
  const auto waiting = fixture_.Submit();
  const auto work = times_.WorkOfJob(waiting.name());
  ASSERT_OK(work);
  ASSERT_OK(times_.Refresh());
  EXPECT_THAT(times_.Typical(*work, "cpu"), Eq(absl::Seconds(20)));
  EXPECT_THAT(times_.Typical(*work, "NVIDIA H200"), Eq(std::nullopt));
  EXPECT_THAT(times_.Typical("other work", "cpu"), Eq(std::nullopt));
  EXPECT_TRUE(absl::IsNotFound(times_.WorkOfJob("jobs/none").status()));
}

TEST_F(JobTimesTest, AServerThatStartsAnewLooksAtTheNewestJobs) {
  Run(absl::Seconds(30));
  JobTimes later(fixture_.store());
  const auto work = times_.WorkOfJob("jobs/j1");
  ASSERT_OK(work);
  ASSERT_OK(later.Refresh());
  EXPECT_THAT(later.Typical(*work, "cpu"), Eq(absl::Seconds(30)));
}

}  // namespace
}  // namespace graft
