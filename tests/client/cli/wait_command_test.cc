#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

// Jobs that end when they are watched; "endless" never does.
class WaitedJobs : public v1::JobService::Service {
 public:
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                      v1::Job* job) override {
    MutexLock lock(mutex_);
    const auto found = ends.find(request->name());
    if (found == ends.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "there is no job");
    job->set_state(v1::JOB_STATE_RUNNING);
    job->set_last_sequence(7);
    if (ended_.contains(request->name()) && absences-- > 0)
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "");
    if (ended_.contains(request->name())) *job = found->second;
    job->set_name("jobs/" + request->name().substr(request->name().find('/') + 1));
    return grpc::Status::OK;
  }

  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::WatchJobResponse>* writer) override {
    EXPECT_GE(request->after_sequence(), 6);  // Nothing that is over is sent again.
    v1::WatchJobResponse response;
    response.mutable_event()->set_sequence(7);
    writer->Write(response);
    MutexLock lock(mutex_);
    if (request->name() == "jobs/endless") {
      if (on_endless) on_endless();
      while (!context->IsCancelled())
        Clock::Real().WaitUntil(cancelled_, mutex_,
                                Clock::Real().Boottime() + absl::Milliseconds(5));
      return grpc::Status::CANCELLED;
    }
    if (++watches_[request->name()] <= breaks)
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "");
    if (request->name() == "jobs/deleted") return grpc::Status(grpc::StatusCode::NOT_FOUND, "gone");
    ended_.insert(request->name());
    return grpc::Status::OK;
  }

  void Add(const std::string& name, v1::JobState state, const std::string& reason = "",
           const std::string& error = "") {
    v1::Job& job = ends[name];
    job.set_state(state);
    job.set_done(true);
    job.set_state_reason(reason);
    if (!error.empty()) job.mutable_error()->set_message(error);
  }

  std::map<std::string, v1::Job> ends;
  int breaks = 0;    // Of the stream to each.
  int absences = 0;  // Of the server, from the end of a job on.
  std::function<void()> on_endless;

 private:
  Mutex mutex_;
  CondVar cancelled_;
  std::map<std::string, int> watches_;
  std::set<std::string> ended_;
};

class WaitedStudies : public v1::StudyService::Service {
 public:
  grpc::Status GetStudy(grpc::ServerContext*, const v1::GetStudyRequest* request,
                        v1::Study* study) override {
    study->set_name(request->name());
    study->set_last_sequence(3);
    study->set_done(watched);
    study->set_state(watched ? v1::STUDY_STATE_SUCCEEDED : v1::STUDY_STATE_RUNNING);
    return grpc::Status::OK;
  }
  grpc::Status WatchStudy(grpc::ServerContext*, const v1::WatchStudyRequest* request,
                          grpc::ServerWriter<v1::WatchStudyResponse>*) override {
    EXPECT_EQ(request->after_sequence(), 2);
    watched = true;
    return grpc::Status::OK;
  }

  std::atomic<bool> watched = false;
};

class WaitCommandTest : public ::testing::Test {
 protected:
  WaitCommandTest() {
    jobs_.Add("jobs/good", v1::JOB_STATE_SUCCEEDED);
    jobs_.Add("jobs/bad", v1::JOB_STATE_FAILED, "FAILED", "row 3 of news:\n\x1b[2Jno summary");
    jobs_.Add("jobs/stopped", v1::JOB_STATE_CANCELLED, "cancelled by its owner");
    jobs_.Add("jobs/endless", v1::JOB_STATE_SUCCEEDED);
    jobs_.Add("jobs/deleted", v1::JOB_STATE_SUCCEEDED);
  }
  // The exit code.
  int Run(std::vector<std::string> words) {
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    words.insert(words.begin(), "wait");
    status_ = server_.Run(AddWaitCommand, words);
    out_ = ::testing::internal::GetCapturedStdout();
    error_ = ::testing::internal::GetCapturedStderr();
    return ExitCodeAfter(status_);
  }

  WaitedJobs jobs_;
  WaitedStudies studies_;
  // Each call is made once.
  CommandServer server_{std::vector<grpc::Service*>{&jobs_, &studies_},
                        {.patience = absl::ZeroDuration()}};
  absl::Status status_;
  std::string out_, error_;
};

TEST_F(WaitCommandTest, TheEndOfEachIsALineAndTheExitCodeTellsOfAll) {
  EXPECT_EQ(Run({"jobs/good"}), kExitDone);
  EXPECT_EQ(out_, "jobs/good succeeded\n");
  EXPECT_EQ(Run({"jobs/stopped", "jobs/good"}), kExitCancelled);
  EXPECT_THAT(out_, HasSubstr("jobs/stopped cancelled: cancelled by its owner\n"));
  EXPECT_THAT(out_, HasSubstr("jobs/good succeeded\n"));
  EXPECT_EQ(Run({"jobs/stopped", "jobs/good", "jobs/bad"}), kExitFailed);
  EXPECT_THAT(out_, HasSubstr("jobs/bad failed: row 3 of news: ?[2Jno summary\n"));
  EXPECT_TRUE(IsAlreadyPrinted(status_));
  EXPECT_EQ(error_, "");
}

TEST_F(WaitCommandTest, AJobThatIsNamedTwiceHasOneLine) {
  jobs_.Add("good", v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Run({"jobs/good", "good", "jobs/good"}), kExitDone);
  EXPECT_EQ(out_, "jobs/good succeeded\n");
}

TEST_F(WaitCommandTest, AStudyIsWaitedForBesideJobs) {
  EXPECT_EQ(Run({"studies/s", "jobs/good"}), kExitDone);
  EXPECT_THAT(out_, HasSubstr("studies/s succeeded\n"));
  EXPECT_THAT(out_, HasSubstr("jobs/good succeeded\n"));
}

TEST_F(WaitCommandTest, JsonHasWhatIsKnownOfEach) {
  server_.context().json = true;
  EXPECT_EQ(Run({"jobs/stopped"}), kExitCancelled);
  EXPECT_THAT(out_, HasSubstr("{\"name\":\"jobs/stopped\",\"state\":\"JOB_STATE_CANCELLED\","));
}

TEST_F(WaitCommandTest, AServerThatComesBackIsWaitedFor) {
  jobs_.breaks = 2;
  EXPECT_EQ(Run({"jobs/good", "jobs/bad"}), kExitFailed);
  EXPECT_EQ(error_, "");
}

TEST_F(WaitCommandTest, AServerThatGoesAwayWhenAJobEndsIsWaitedFor) {
  jobs_.absences = 3;
  EXPECT_EQ(Run({"jobs/good", "jobs/stopped"}), kExitCancelled);
  EXPECT_EQ(error_, "");
}

TEST_F(WaitCommandTest, WhatIsNotDoneInTimeIsNamed) {
  EXPECT_EQ(Run({"jobs/endless", "jobs/good", "--timeout", "10ms"}), kExitNotInTime);
  EXPECT_THAT(error_, HasSubstr("graft: not done after --timeout 10ms: jobs/endless"));
}

TEST_F(WaitCommandTest, WithoutTimeItTellsWhatIsDone) {
  EXPECT_EQ(Run({"jobs/good"}), kExitDone);  // From here on it is.
  EXPECT_EQ(Run({"jobs/good", "--timeout", "0"}), kExitDone);
  EXPECT_EQ(out_, "jobs/good succeeded\n");
}

TEST_F(WaitCommandTest, WithoutTimeWhatIsNotDoneIsNamed) {
  EXPECT_EQ(Run({"jobs/good"}), kExitDone);  // From here on it is.
  EXPECT_EQ(Run({"jobs/good", "jobs/endless", "--timeout", "0"}), kExitNotInTime);
  EXPECT_EQ(out_, "jobs/good succeeded\n");
  EXPECT_EQ(error_, "graft: not done after --timeout 0: jobs/endless\n");
}

TEST_F(WaitCommandTest, AnUnknownJobIsSaidBeforeAnyIsWaitedFor) {
  EXPECT_EQ(Run({"jobs/endless", "jobs/none"}), kExitNotFound);
  EXPECT_EQ(out_, "");
}

TEST_F(WaitCommandTest, OneThatIsDeletedDoesNotKeepTheOthersFromTheirLines) {
  EXPECT_EQ(Run({"jobs/deleted", "jobs/good"}), kExitNotFound);
  EXPECT_EQ(out_, "jobs/good succeeded\n");
  EXPECT_THAT(std::string(status_.message()), HasSubstr("jobs/deleted: gone"));
}

TEST_F(WaitCommandTest, CtrlCStopsTheWaitingAndNoJob) {
  jobs_.on_endless = [] { kill(getpid(), SIGINT); };
  EXPECT_EQ(Run({"jobs/endless"}), kExitFailed);
  EXPECT_EQ(status_.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(error_, "graft: stopped waiting; jobs/endless goes on\n");
}

TEST_F(WaitCommandTest, OfManyAllAreWaitedFor) {
  std::vector<std::string> names;
  for (int i = 0; i < 100; ++i) {
    names.push_back(absl::StrCat("jobs/", i));
    jobs_.Add(names.back(), v1::JOB_STATE_SUCCEEDED);
  }
  EXPECT_EQ(Run(names), kExitDone);
  EXPECT_EQ(std::count(out_.begin(), out_.end(), '\n'), 100);
}

TEST_F(WaitCommandTest, ATimeThatIsNoneIsRefused) {
  for (const char* text : {"soon", "-1", "-5m", "nan", "8 hours"}) {
    EXPECT_EQ(Run({"jobs/good", absl::StrCat("--timeout=", text)}), kExitUsage) << text;
    EXPECT_THAT(std::string(status_.message()), HasSubstr("90 (seconds), 15m or 8h")) << text;
  }
}

}  // namespace
}  // namespace graft
