#include "client/cli/top_view.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/locale.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::Worker& AddWorker(TopState& state, const std::string& name) {
  v1::Worker& worker = *state.workers.add_workers();
  worker.set_name(name);
  worker.set_connected(true);
  worker.add_devices("cpu");
  worker.set_slots(2);
  worker.set_free_slots(1);
  worker.set_seconds_since_heard(1);
  return worker;
}

v1::Job& AddRunning(TopState& state, const std::string& name) {
  v1::Job& job = *state.running.add_jobs();
  job.set_name(name);
  job.set_method("lora");
  job.set_stage(v1::JOB_STAGE_TRAINING);
  job.set_step(17);
  job.set_total_steps(150);
  job.set_eta_seconds(210);
  (*job.mutable_last_metrics())["train/loss"] = 3.119;
  return job;
}

void AddQueued(TopState& state, const std::string& name) {
  v1::QueueEntry& entry = *state.queue.add_jobs();
  entry.set_name(name);
  entry.set_expected_start_seconds(90);
  entry.set_waits("the worker is busy");
  state.queue.set_total(state.queue.jobs_size());
}

TopState AState() {
  TopState state;
  state.server = "127.0.0.1:1";
  AddWorker(state, "w-1").add_jobs("jobs/a");
  AddRunning(state, "jobs/a");
  AddQueued(state, "jobs/b");
  return state;
}

TEST(TopViewTest, ShowsWorkersRunningJobsAndTheQueue) {
  EXPECT_EQ(TopText(AState(), 80, 40),
            "graft at 127.0.0.1:1  1 worker, 1 of 2 slots busy, 1 running, 1 queued\n"
            "\n"
            "WORKER  DEVICE  BUSY     HEARD  RUNS\n"
            "w-1     cpu      1/2  1.0s ago  jobs/a\n"
            "\n"
            "RUNNING  NAME  METHOD  STAGE       STEP  DONE   LEFT   LOSS\n"
            "jobs/a         lora    training  17/150   11%  3m30s  3.119\n"
            "\n"
            "QUEUED  NAME  STARTS IN  WAITS\n"
            "jobs/b            1m30s  the worker is busy\n");
}

TEST(TopViewTest, WithoutAnythingThereIsALine) {
  TopState state;
  state.server = "s";
  EXPECT_EQ(TopText(state, 80, 40),
            "graft at s  0 workers, 0 of 0 slots busy, 0 running, 0 queued\n");
}

TEST(TopViewTest, FitsItsTerminalAndSaysHowManyAreLeftOut) {
  const Utf8Locale locale;
  TopState state = AState();
  for (int i = 0; i < 50; ++i) {
    AddWorker(state, absl::StrCat("w-", i));
    AddRunning(state, absl::StrCat("jobs/r", i)).set_display_name(std::string(60, 'n'));
    AddQueued(state, absl::StrCat("jobs/q", i));
  }
  state.queue.set_total(1000);
  for (size_t rows = 1; rows < 60; ++rows) {
    const std::string text = TopText(state, 60, rows);
    EXPECT_LE(std::count(text.begin(), text.end(), '\n'), static_cast<long>(rows)) << text;
  }
  const std::string text = TopText(state, 60, 24);
  EXPECT_THAT(text, HasSubstr("\nWORKER"));
  EXPECT_THAT(text, HasSubstr("\nRUNNING"));
  EXPECT_THAT(text, HasSubstr("\nQUEUED"));
  EXPECT_THAT(text, HasSubstr("\nand 999 more\n"));
}

TEST(TopViewTest, AWorkerThatIsAwayIsShownWithItsJobs) {
  TopState state = AState();
  state.workers.mutable_workers(0)->set_connected(false);
  EXPECT_THAT(TopText(state, 80, 40), HasSubstr("w-1     away       -      -  jobs/a\n"));
  EXPECT_THAT(TopText(state, 80, 40), Not(HasSubstr("1 of 2")));
}

}  // namespace
}  // namespace graft
