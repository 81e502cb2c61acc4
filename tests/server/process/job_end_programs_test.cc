#include "server/process/job_end_programs.h"

#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "tests/fakes/temp_dir.h"
#include "tests/server/process/wait_until.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class JobEndProgramsTest : public ::testing::Test {
 protected:
  JobEndProgramsTest() {
    std::signal(SIGPIPE, SIG_IGN);  // As graft-server does.
    store_options_.clock = &clock_;
    store_options_.mark_ends = true;
    options_.clock = &clock_;
    options_.program = directory_.Path("program");
    options_.server = "127.0.0.1:1";
    Open();
  }
  void Open() {
    programs_.reset();
    store_.reset();
    store_ = *OpenJobStore("sqlite:" + directory_.Path("graft.db"), store_options_);
  }
  // Each run of the script adds to the file `ran` what it echoes to 3.
  void Write(const std::string& script) {
    const std::string text =
        absl::StrCat("#!/bin/sh\nexec 3>>", directory_.Path("ran"), "\n", script, "\n");
    ASSERT_TRUE(WriteFileAtomically(options_.program, text).ok());
    ASSERT_EQ(::chmod(options_.program.c_str(), 0755), 0);
  }
  void Start() {
    metrics_ = std::make_unique<MetricRegistry>();
    programs_ = std::make_unique<JobEndPrograms>(options_, *store_, *metrics_);
  }
  // A job that was cancelled.
  std::string End() {
    const std::string name = store_->InsertJob({})->name();
    EXPECT_TRUE(store_->CancelJob(name, {}).ok());
    return name;
  }
  std::vector<std::string> Ran() {
    return absl::StrSplit(ReadFile(directory_.Path("ran"), 1 << 20).value_or(""), '\n',
                          absl::SkipEmpty());
  }
  bool NobodyWaits() {
    return WaitUntil([&] { return store_->MarkedEnds(1)->empty(); });
  }
  double Count(const std::string& result) {
    for (const prometheus::MetricFamily& family : metrics_->collectable()->Collect()) {
      if (family.name != "graft_job_end_programs_total") continue;
      for (const auto& metric : family.metric) {
        if (metric.label[0].value == result) return metric.counter.value;
      }
    }
    return -1;
  }

  const TempDir directory_;
  FakeClock clock_;
  StoreOptions store_options_;
  JobEndOptions options_;
  std::unique_ptr<MetricRegistry> metrics_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<JobEndPrograms> programs_;
};

TEST_F(JobEndProgramsTest, TheProgramIsGivenTheJobThatEnded) {
  Write("cat >&3; echo $GRAFT_JOB $GRAFT_STATE $GRAFT_SERVER >&3");
  Start();
  NewJob job;
  job.job.set_display_name("a \"name\"\nof two lines");
  const std::string name = store_->InsertJob(job)->name();
  ASSERT_TRUE(store_->CancelJob(name, {}).ok());
  ASSERT_TRUE(NobodyWaits());
  const std::vector<std::string> ran = Ran();
  ASSERT_EQ(ran.size(), 2u);
  const nlohmann::json given = nlohmann::json::parse(ran[0]);
  EXPECT_EQ(given["name"], name);
  EXPECT_EQ(given["display_name"], "a \"name\"\nof two lines");
  EXPECT_EQ(given["state"], "JOB_STATE_CANCELLED");
  EXPECT_EQ(given["state_reason"], "cancelled while it was queued");
  EXPECT_EQ(ran[1], name + " CANCELLED 127.0.0.1:1");
  EXPECT_EQ(Count("ok"), 1);
}

TEST_F(JobEndProgramsTest, AnEndThatNobodyToldBeforeTheServerWasKilledIsTold) {
  const std::string first = End();
  const std::string second = End();
  Open();  // The store is all that is left.
  Write("echo $GRAFT_JOB >&3");
  options_.at_once = 1;
  Start();
  ASSERT_TRUE(NobodyWaits());
  EXPECT_THAT(Ran(), ElementsAre(first, second)) << "in the order in which they ended";
  Open();
  Start();
  const std::string third = End();
  ASSERT_TRUE(NobodyWaits());
  EXPECT_THAT(Ran(), ElementsAre(first, second, third)) << "and not again";
}

TEST_F(JobEndProgramsTest, WhatRunsWhenTheServerStopsIsEndedAndRunAnew) {
  Write("echo $GRAFT_JOB >&3; sleep 1000");
  Start();
  const std::string name = End();
  ASSERT_TRUE(WaitUntil([&] { return !Ran().empty(); }));
  programs_->Stop(absl::ZeroDuration());
  EXPECT_EQ(Count("interrupted"), 1);
  Write("echo $GRAFT_JOB >&3");
  Open();
  Start();
  ASSERT_TRUE(NobodyWaits());
  EXPECT_THAT(Ran(), ElementsAre(name, name));
}

TEST_F(JobEndProgramsTest, WhatRunsWhenTheServerStopsMayEndInTime) {
  Write("echo begun >&3; while [ ! -e " + directory_.Path("go") +
        " ]; do sleep 0.01; done; exit 0");
  Start();
  End();
  ASSERT_TRUE(WaitUntil([&] { return !Ran().empty(); }));
  std::thread stop([&] { programs_->Stop(absl::Seconds(10)); });
  ASSERT_TRUE(WriteFileAtomically(directory_.Path("go"), "").ok());
  stop.join();
  EXPECT_EQ(Count("ok"), 1);
  EXPECT_THAT(*store_->MarkedEnds(1), IsEmpty());
}

TEST_F(JobEndProgramsTest, OneThatFailsIsCountedAndNotRunAgain) {
  Write("echo ran >&3; exit 3");
  Start();
  End();
  ASSERT_TRUE(NobodyWaits());
  EXPECT_THAT(Ran(), ElementsAre("ran"));
  EXPECT_EQ(Count("failed"), 1);
  Write("echo ran >&3; kill -9 $$");
  End();
  ASSERT_TRUE(WaitUntil([&] { return Count("failed") == 2; }));
  EXPECT_EQ(Count("ok"), 0);
}

TEST_F(JobEndProgramsTest, OneThatHangsIsEndedAndHoldsUpNoOther) {
  Write("echo $GRAFT_JOB >&3; [ -e " + directory_.Path("go") + " ] || sleep 1000");
  options_.at_once = 2;
  Start();
  const std::string hangs = End();
  ASSERT_TRUE(WaitUntil([&] { return Ran().size() == 1; }));
  ASSERT_TRUE(WriteFileAtomically(directory_.Path("go"), "").ok());
  End();
  ASSERT_TRUE(WaitUntil([&] { return store_->MarkedEnds(10)->size() == 1; }));
  EXPECT_THAT(*store_->MarkedEnds(10), ElementsAre(hangs));
  EXPECT_EQ(Count("ok"), 1);
  clock_.Advance(options_.limit);
  ASSERT_TRUE(NobodyWaits());
  EXPECT_EQ(Count("timeout"), 1);
}

TEST_F(JobEndProgramsTest, NoMoreThanAFewRunAtOnceAndNoneIsDropped) {
  Write("echo begun >&3; while [ ! -e " + directory_.Path("go") + " ]; do sleep 0.01; done");
  options_.at_once = 3;
  std::vector<std::string> names;
  for (int i = 0; i < 130; ++i) names.push_back(End());
  Start();
  ASSERT_TRUE(WaitUntil([&] { return Ran().size() == 3; }));
  EXPECT_EQ(store_->Counts()->marked_ends, 130);
  Write("echo $GRAFT_JOB >&3");
  ASSERT_TRUE(WriteFileAtomically(directory_.Path("go"), "").ok());
  ASSERT_TRUE(NobodyWaits());
  EXPECT_EQ(Ran().size(), 130u);
  EXPECT_EQ(Count("ok"), 130);
}

TEST_F(JobEndProgramsTest, OneThatVanishedIsTriedUntilItIsBack) {
  options_.limit = absl::Hours(1'000'000);  // The clock runs far ahead of the program.
  Start();
  const std::string name = End();
  ASSERT_TRUE(WaitUntil([&] { return Count("not_started") >= 1; }));
  EXPECT_THAT(*store_->MarkedEnds(1), ElementsAre(name));
  Write("echo $GRAFT_JOB >&3");
  EXPECT_TRUE(WaitUntil([&] {
    clock_.Advance(absl::Minutes(5));
    return store_->MarkedEnds(1)->empty();
  }));
  EXPECT_THAT(Ran(), ElementsAre(name));
}

TEST_F(JobEndProgramsTest, AJobThatWasDeletedBeforeItsTurnIsLeftOut) {
  const std::string gone = End();
  const std::string stays = End();
  ASSERT_TRUE(store_->DeleteJob(gone, false, {}).ok());
  Write("echo $GRAFT_JOB >&3");
  Start();
  ASSERT_TRUE(NobodyWaits());
  EXPECT_THAT(Ran(), ElementsAre(stays));
}

TEST_F(JobEndProgramsTest, AJobWhoseEndIsNotToldYetIsNotDeletedForItsAge) {
  store_options_.job_lifetime = absl::ZeroDuration();
  Open();
  const std::string name = End();
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(*store_->PruneJobs(), IsEmpty());
  ASSERT_TRUE(store_->ForgetEnd(name).ok());
  EXPECT_EQ(store_->PruneJobs()->size(), 1u);
  End();
  store_options_.mark_ends = false;
  Open();
  clock_.Advance(absl::Hours(3));
  EXPECT_EQ(store_->PruneJobs()->size(), 1u) << "nobody will tell it";
}

TEST(CheckJobEndProgramTest, WhatCannotBeRunIsRefusedWithTheReason) {
  const TempDir directory;
  const std::string file = directory.Path("file");
  ASSERT_TRUE(WriteFileAtomically(file, "#!/bin/sh\n").ok());
  const std::pair<std::string, std::string> cases[] = {
      {directory.Path("none"), "is not there"},
      {directory.path(), "is no file"},
      {file, "is not executable"},
  };
  for (const auto& [program, why] : cases) {
    const absl::Status refused = CheckJobEndProgram(program);
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(refused.message()), HasSubstr(program + " " + why));
    EXPECT_THAT(std::string(refused.message()), HasSubstr("--on-job-end"));
  }
  ASSERT_EQ(::chmod(file.c_str(), 0755), 0);
  EXPECT_TRUE(CheckJobEndProgram(file).ok());
}

}  // namespace
}  // namespace graft
