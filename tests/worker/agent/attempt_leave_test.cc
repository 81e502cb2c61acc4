// What a worker that stops does with the attempts that it has under way.

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "tests/worker/agent/attempt_fixture.h"
#include "worker/agent/attempt.h"

namespace graft {
namespace {

using engine::v1::EngineCommand;
using engine::v1::EngineEvent;

class LeaveTest : public AttemptTest {
 protected:
  void ExpectHandedBack() {
    const auto finish = server_.WaitForFinish("a");
    EXPECT_EQ(finish.returned().reason().message(), "the worker was stopped");
    EXPECT_FALSE(finish.returned().worker_fault());
    Join();
    EXPECT_EQ(outcome_.result, "returned");
    EXPECT_FALSE(outcome_.engine_crashed);
  }
};

TEST_F(LeaveTest, TheEngineSavesAndTheJobIsHandedBackAfterItsCheckpoint) {
  const EngineCommand run = BeginAndRun();
  attempt_->Leave(absl::Seconds(20));
  attempt_->Leave(absl::InfiniteDuration());
  engine().WaitForCommand(EngineCommand::kPause);
  Pass(absl::Seconds(19));
  EXPECT_FALSE(engine().dead());
  const std::string directory = run.run().work_directory() + "/checkpoints/7";
  ASSERT_TRUE(CreateDirectories(directory).ok());
  ASSERT_TRUE(WriteFileAtomically(directory + "/state.json", "state").ok());
  EngineEvent saved;
  saved.mutable_checkpoint()->set_step(7);
  v1::Artifact& file = *saved.mutable_checkpoint()->add_files();
  file.set_path("state.json");
  file.set_sha256(Sha256Hex("state"));
  file.set_size_bytes(5);
  engine().Say(saved);
  SayPaused();
  ExpectHandedBack();
  EXPECT_THAT(server_.History("a"), testing::Contains("checkpoint 7"));
}

TEST_F(LeaveTest, WhatIsNotOverInTimeIsEndedAsItIs) {
  BeginAndRun();
  attempt_->Leave(absl::InfiniteDuration());
  attempt_->Leave(absl::Seconds(20));
  attempt_->Leave(absl::Hours(1));  // The shorter one counts.
  Pass(absl::Seconds(19));
  EXPECT_FALSE(engine().dead());
  Pass(absl::Seconds(1));
  EXPECT_TRUE(engine().dead());
  ExpectHandedBack();
}

TEST_F(LeaveTest, WithoutPatienceItEndsAtOnce) {
  BeginAndRun();
  attempt_->Leave(absl::ZeroDuration());
  EXPECT_TRUE(engine().dead());
  ExpectHandedBack();
}

TEST_F(LeaveTest, ADownloadIsEndedAtOnce) {
  server_.HoldTransfers();
  Begin();
  server_.WaitUntilHeld();
  attempt_->Leave(absl::Seconds(20));
  ExpectHandedBack();
}

TEST_F(LeaveTest, AResultThatIsUploadedHasTheTimeToo) {
  BeginAndHoldTheUpload();
  attempt_->Leave(absl::Seconds(20));
  Pass(absl::Seconds(19));
  server_.ReleaseTransfers();
  EXPECT_TRUE(server_.WaitForFinish("a").has_succeeded());
}

TEST_F(LeaveTest, AnEngineThatCrashesInsteadIsAFailure) {
  BeginAndRun();
  Progress(1);
  attempt_->Leave(absl::Seconds(20));
  engine().Crash();
  EXPECT_EQ(server_.WaitForFinish("a").failed().failure_class(), v1::FAILURE_CLASS_INFRASTRUCTURE);
}

TEST_F(LeaveTest, AJobThatIsBeingPausedIsPaused) {
  BeginAndRun();
  attempt_->Pause();
  attempt_->Leave(absl::Seconds(20));
  SayPaused();
  EXPECT_TRUE(server_.WaitForFinish("a").has_paused());
}

TEST_F(LeaveTest, AndSoIsOneThatIsAskedToWhileTheWorkerStops) {
  BeginAndRun();
  attempt_->Leave(absl::Seconds(20));
  attempt_->Pause();
  SayPaused();
  EXPECT_TRUE(server_.WaitForFinish("a").has_paused());
}

TEST_F(LeaveTest, AServerThatIsAwayIsWaitedForNoLonger) {
  BeginAndRun();
  server_.Stop();
  attempt_->Leave(absl::Seconds(20));
  SayPaused();
  Pass(absl::Seconds(20));
  Join();
  EXPECT_EQ(outcome_.result, "returned");
}

}  // namespace
}  // namespace graft
