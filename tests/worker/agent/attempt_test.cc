#include "worker/agent/attempt.h"

#include <filesystem>

#include "common/base/file.h"
#include "common/errors/status_details.h"
#include "gmock/gmock.h"
#include "tests/worker/agent/attempt_fixture.h"

namespace graft {
namespace {

using engine::v1::EngineCommand;
using engine::v1::EngineEvent;
using ::testing::HasSubstr;

TEST_F(AttemptTest, AnEngineThatDoesNothingIsEndedAsHung) {
  BeginAndRun();
  attempt_->Renew(clock_.Boottime() + absl::Hours(1));
  Progress(1);
  Pass(absl::Minutes(4));
  Progress(1);  // It lives, and says the same again.
  Pass(absl::Seconds(59));
  EXPECT_FALSE(engine().dead());
  Pass(absl::Seconds(2));
  EXPECT_TRUE(engine().dead());
  const auto finish = server_.WaitForFinish("a");
  EXPECT_EQ(finish.failed().failure_class(), v1::FAILURE_CLASS_INFRASTRUCTURE);
  EXPECT_EQ(finish.failed().cause(), "hung");
  EXPECT_EQ(finish.failed().error().message(),
            "the engine hangs: for 301 s it has done nothing in stage TRAINING");
  Join();
  EXPECT_EQ(outcome_.result, "failed");
  EXPECT_FALSE(outcome_.engine_crashed);
}

TEST_F(AttemptTest, AnEngineThatWorksOnDoesNotHang) {
  BeginAndRun();
  attempt_->Renew(clock_.Boottime() + absl::Hours(10));
  for (int pulse = 1; pulse <= 5; ++pulse) {
    Progress(pulse);
    Pass(absl::Minutes(4));
  }
  EXPECT_FALSE(engine().dead());
}

TEST_F(AttemptTest, AnEngineThatWaitsDoesNotHang) {
  BeginAndRun();
  attempt_->Renew(clock_.Boottime() + absl::Hours(10));
  Progress(1, /*waiting=*/true);
  Pass(absl::Hours(1));
  EXPECT_FALSE(engine().dead());
  Progress(1, /*waiting=*/false);
  Pass(absl::Minutes(6));
  EXPECT_TRUE(engine().dead());
}

TEST_F(AttemptTest, AnEngineAtItsFenceDoesNotHang) {
  BeginAndRun();
  Progress(1);
  Pass(absl::Minutes(30));
  EXPECT_TRUE(engine().suspended());
  EXPECT_FALSE(engine().dead());
  attempt_->Renew(clock_.Boottime() + absl::Seconds(55));
  EXPECT_FALSE(engine().suspended());
  Pass(absl::Seconds(50));
  EXPECT_FALSE(engine().dead());
}

TEST_F(AttemptTest, AnEngineIsSuspendedTwoSecondsAfterItsFence) {
  BeginAndRun();
  Pass(absl::Seconds(56));
  EXPECT_FALSE(engine().suspended());
  Pass(absl::Seconds(1));
  EXPECT_TRUE(engine().suspended());
}

TEST_F(AttemptTest, ACancelEndsADownload) {
  server_.HoldTransfers();
  Begin();
  server_.WaitUntilHeld();
  attempt_->Cancel();
  EXPECT_TRUE(server_.WaitForFinish("a").has_cancelled());
  Join();
  EXPECT_EQ(outcome_.result, "cancelled");
}

TEST_F(AttemptTest, ACancelEndsTheUploadOfAResult) {
  BeginAndHoldTheUpload();
  attempt_->Cancel();
  EXPECT_TRUE(server_.WaitForFinish("a").has_cancelled());
}

TEST_F(AttemptTest, AResultWaitsForRoomOnTheServersDisk) {
  server_.RefuseUploads(2);
  BeginAndHoldTheUpload();
  server_.ReleaseTransfers();
  while (!server_.HasFinished("a")) Pass(absl::Seconds(1));
  EXPECT_TRUE(server_.WaitForFinish("a").has_succeeded());
  EXPECT_EQ(server_.LastReport("a").events(0).warning().code(), "DISK_FULL");
}

TEST_F(AttemptTest, AnEngineThatDoesNotHeedACancelIsKilled) {
  BeginAndRun();
  attempt_->Renew(clock_.Boottime() + absl::Hours(1));
  attempt_->Cancel();
  engine().WaitForCommand(EngineCommand::kCancel);
  Pass(absl::Seconds(29));
  EXPECT_FALSE(engine().dead());
  Pass(absl::Seconds(1));
  EXPECT_TRUE(engine().dead());
  EXPECT_TRUE(server_.WaitForFinish("a").has_cancelled());
}

TEST_F(AttemptTest, ACancelDoesNotWaitLongForACheckpointThatCannotBeUploaded) {
  const EngineCommand run = BeginAndRun();
  attempt_->Renew(clock_.Boottime() + absl::Hours(1));
  server_.HoldTransfers();
  const std::string checkpoint = run.run().work_directory() + "/checkpoints/5";
  ASSERT_TRUE(CreateDirectories(checkpoint).ok());
  ASSERT_TRUE(WriteFileAtomically(checkpoint + "/state", "state").ok());
  EngineEvent saved;
  saved.mutable_checkpoint()->set_step(5);
  v1::Artifact& file = *saved.mutable_checkpoint()->add_files();
  file.set_path("state");
  file.set_sha256(Sha256Hex("state"));
  file.set_size_bytes(5);
  engine().Say(saved);
  server_.WaitUntilHeld();
  attempt_->Cancel();
  engine().Finish(1 /* CANCELLED */);
  Pass(absl::Seconds(29));
  EXPECT_FALSE(server_.HasFinished("a"));
  Pass(absl::Seconds(1));
  EXPECT_TRUE(server_.WaitForFinish("a").has_cancelled());
}

TEST_F(AttemptTest, APauseEndsADownload) {
  server_.HoldTransfers();
  Begin();
  server_.WaitUntilHeld();
  attempt_->Pause();
  EXPECT_TRUE(server_.WaitForFinish("a").has_paused());
  Join();
  EXPECT_EQ(outcome_.result, "paused");
}

TEST_F(AttemptTest, APausedEngineHasAsLongAsItsStepTakes) {
  BeginAndRun();
  attempt_->Renew(clock_.Boottime() + absl::Hours(10));
  attempt_->Pause();
  attempt_->Pause();
  engine().WaitForCommand(EngineCommand::kPause);
  Progress(1);
  Pass(absl::Minutes(4));
  EXPECT_FALSE(engine().dead());
  SayPaused();
  EXPECT_TRUE(server_.WaitForFinish("a").has_paused());
  Join();
  EXPECT_FALSE(engine().dead()) << "it stays for the next job";
}

TEST_F(AttemptTest, AnEngineThatWaitsByItselfIsPausedAndNotHandedBack) {
  BeginAndRun();
  SayPaused();
  EXPECT_TRUE(server_.WaitForFinish("a").has_paused());
  Join();
  EXPECT_FALSE(engine().dead());
}

TEST_F(AttemptTest, ACancelThatSavesHasAsLongAsThePauseThatItIs) {
  BeginAndRun();
  attempt_->Renew(clock_.Boottime() + absl::Hours(10));
  attempt_->SaveAndCancel();
  engine().WaitForCommand(EngineCommand::kPause);
  Progress(1);
  Pass(absl::Minutes(4));
  EXPECT_FALSE(engine().dead());
  SayPaused();
  EXPECT_TRUE(server_.WaitForFinish("a").has_cancelled());
  Join();
  EXPECT_FALSE(engine().dead()) << "it stays for the next job";
}

TEST_F(AttemptTest, ACancelThatSavesNeedNotAnyMore) {
  BeginAndRun();
  attempt_->Renew(clock_.Boottime() + absl::Hours(10));
  attempt_->SaveAndCancel();
  engine().WaitForCommand(EngineCommand::kPause);
  attempt_->Cancel();
  engine().WaitForCommand(EngineCommand::kCancel);
  Pass(absl::Seconds(31));
  EXPECT_TRUE(engine().dead());
  EXPECT_TRUE(server_.WaitForFinish("a").has_cancelled());
}

TEST_F(AttemptTest, ACancelThatSavesEndsADownload) {
  server_.HoldTransfers();
  Begin();
  server_.WaitUntilHeld();
  attempt_->SaveAndCancel();
  EXPECT_TRUE(server_.WaitForFinish("a").has_cancelled());
}

TEST_F(AttemptTest, APauseThatComesTooLateEndsNoUpload) {
  BeginAndHoldTheUpload();
  attempt_->Pause();
  server_.ReleaseTransfers();
  EXPECT_TRUE(server_.WaitForFinish("a").has_succeeded());
}

TEST_F(AttemptTest, AnEngineThatCrashesInsteadOfPausingIsAFailure) {
  BeginAndRun();
  attempt_->Pause();
  engine().WaitForCommand(EngineCommand::kPause);
  engine().Crash();
  EXPECT_EQ(server_.WaitForFinish("a").failed().failure_class(), v1::FAILURE_CLASS_INFRASTRUCTURE);
}

TEST_F(AttemptTest, TheEngineIsAskedOnceForACheckpointThatIsWanted) {
  BeginAndRun();
  attempt_->WantCheckpoint(3);
  EXPECT_EQ(engine().WaitForCommand(EngineCommand::kSaveCheckpoint).save_checkpoint().step(), 3);
  engine().ForgetCommands();
  attempt_->WantCheckpoint(3);
  EXPECT_EQ(engine().LastCommand().command_case(), EngineCommand::COMMAND_NOT_SET);
  // The next one is another, whether anybody heard that the first had come.
  attempt_->WantCheckpoint(7);
  EXPECT_EQ(engine().LastCommand().save_checkpoint().step(), 7);
  attempt_->WantCheckpoint(0);
  EXPECT_EQ(engine().LastCommand().save_checkpoint().step(), 7);
}

TEST_F(AttemptTest, ALostLeaseEndsADownloadAndIsNotReported) {
  server_.HoldTransfers();
  Begin();
  server_.WaitUntilHeld();
  attempt_->End(Attempt::EndReason::kLeaseLost, absl::FailedPreconditionError("gone"));
  Join();
  EXPECT_EQ(outcome_.result, "abandoned");
  EXPECT_FALSE(server_.HasFinished("a"));
}

TEST_F(AttemptTest, AStaleReportEndsTheEngineAndNothingMoreIsSaid) {
  BeginAndRun();
  server_.MakeStale("a");
  engine().Metrics(1);
  Join();
  EXPECT_TRUE(engine().dead());
  EXPECT_EQ(outcome_.result, "abandoned");
  EXPECT_FALSE(server_.HasFinished("a"));
}

TEST_F(AttemptTest, AStopEndsAReportThatIsNotAnswered) {
  BeginAndRun();
  server_.HoldReports();
  engine().Metrics(1);
  server_.WaitUntilHeld();
  attempt_->End(Attempt::EndReason::kWorkerStops, absl::UnavailableError("it stops"));
  EXPECT_EQ(server_.WaitForFinish("a").returned().reason().message(), "it stops");
}

TEST_F(AttemptTest, ARefusedLastReportIsWhyTheAttemptFails) {
  server_.RefuseEventsOf("a");
  BeginAndRun();
  engine().Metrics(1);
  engine().Finish();
  const auto finish = server_.WaitForFinish("a");
  EXPECT_THAT(finish.failed().error().message(), HasSubstr("no such event"));
}

TEST_F(AttemptTest, AnEngineThatSaysWhatIsNoEventIsEndedAndNamed) {
  BeginAndRun();
  engine().Garble();
  const auto finish = server_.WaitForFinish("a");
  EXPECT_TRUE(engine().dead());
  EXPECT_EQ(finish.failed().cause(), "garbled");
  EXPECT_THAT(finish.failed().error().message(), HasSubstr("cannot be read: no EngineEvent"));
}

TEST_F(AttemptTest, ACrashNamesItsCause) {
  BeginAndRun();
  engine().Crash();
  const auto finish = server_.WaitForFinish("a");
  EXPECT_EQ(finish.failed().cause(), "signal 9 (Killed)");
  Join();
  EXPECT_TRUE(outcome_.engine_crashed);
}

TEST_F(AttemptTest, AnEngineThatDoesNotStartIsTheWorkersFault) {
  launcher_.FailWith(absl::NotFoundError("/bin/none is no program"));
  Begin();
  const auto finish = server_.WaitForFinish("a");
  EXPECT_TRUE(finish.returned().worker_fault());
  EXPECT_THAT(finish.returned().reason().message(), HasSubstr("is no program"));
}

// Whether the engine is there for the next job, once this one has ended with `finished`.
class EngineAfterAttemptTest : public AttemptTest {
 protected:
  bool Stays(int code, v1::FailureClass failure_class = v1::FAILURE_CLASS_UNSPECIFIED) {
    EngineEvent finished;
    finished.mutable_finished()->mutable_status()->set_code(code);
    finished.mutable_finished()->set_failure_class(failure_class);
    engine().Say(finished);
    Join();
    return !engine().dead();
  }
};

TEST_F(EngineAfterAttemptTest, ItStaysAfterAResult) {
  BeginAndRun();
  EXPECT_TRUE(Stays(0));
}

TEST_F(EngineAfterAttemptTest, ItStaysAfterACancelThatItHeeded) {
  BeginAndRun();
  attempt_->Cancel();
  EXPECT_TRUE(Stays(1 /* CANCELLED */));
}

TEST_F(EngineAfterAttemptTest, ItStaysAfterAFailureOfTheJob) {
  BeginAndRun();
  EXPECT_TRUE(Stays(3 /* INVALID_ARGUMENT */, v1::FAILURE_CLASS_DATA));
}

TEST_F(EngineAfterAttemptTest, ItEndsAfterAFailureOfItsOwn) {
  BeginAndRun();
  EXPECT_FALSE(Stays(13 /* INTERNAL */, v1::FAILURE_CLASS_INTERNAL));
}

TEST_F(EngineAfterAttemptTest, ItEndsWhenMemoryRanOut) {
  BeginAndRun();
  EXPECT_FALSE(Stays(8 /* RESOURCE_EXHAUSTED */, v1::FAILURE_CLASS_OUT_OF_MEMORY));
}

TEST_F(EngineAfterAttemptTest, ItEndsWhenItWasSuspendedLast) {
  BeginAndRun();
  Pass(absl::Seconds(57));
  ASSERT_TRUE(engine().suspended());
  EXPECT_FALSE(Stays(0));
}

TEST_F(AttemptTest, TheNextAttemptOnAnEngineIsAnothersFromItsNameOn) {
  const EngineCommand first = BeginAndRun();
  engine().Finish();
  Join();
  server_.AddJob("a", /*lease_epoch=*/2);
  worker::v1::LeaseJobResponse leased = link_.LeaseJob("s").value();
  Attempt::Options options;
  options.work_directory = directory_ + "/work";
  engine().ForgetCommands();
  attempt_ = std::make_unique<Attempt>(options, Attempt::Parts{link_, inputs_, engines_, clock_},
                                       leased.lease(), clock_.Boottime() + absl::Seconds(55));
  const EngineCommand second = BeginAndRun();
  EXPECT_EQ(launcher_.launched(), 1);
  EXPECT_NE(first.job(), second.job());
  EXPECT_EQ(first.run().base_model_sha256(), second.run().base_model_sha256());
  EXPECT_EQ(second.log_file(), second.run().work_directory() + ".log");
}

TEST_F(AttemptTest, AJobThatThisMachineCannotGoOnWithIsHandedBack) {
  BeginAndRun();
  EngineEvent finished;
  finished.mutable_finished()->mutable_status()->set_code(9);  // FAILED_PRECONDITION
  finished.mutable_finished()->mutable_status()->set_message("it began on AVX512");
  finished.mutable_finished()->set_failure_class(v1::FAILURE_CLASS_INFRASTRUCTURE);
  engine().Say(finished);
  const auto finish = server_.WaitForFinish("a");
  EXPECT_TRUE(finish.has_returned());
  EXPECT_FALSE(finish.returned().worker_fault());
}

TEST_F(AttemptTest, AFullDiskUnderTheEngineIsTheWorkersFault) {
  BeginAndRun();
  EngineEvent finished;
  finished.mutable_finished()->mutable_status()->set_code(8);  // RESOURCE_EXHAUSTED
  finished.mutable_finished()->mutable_status()->set_message("cannot write: the disk is full");
  finished.mutable_finished()->set_failure_class(v1::FAILURE_CLASS_INFRASTRUCTURE);
  engine().Say(finished);
  EXPECT_TRUE(server_.WaitForFinish("a").returned().worker_fault());
}

class ResumedAttemptTest : public AttemptTest {
 protected:
  ResumedAttemptTest() : AttemptTest(LeaseWithCheckpoint()) {}
  static worker::v1::Lease LeaseWithCheckpoint() {
    worker::v1::Lease lease;
    lease.set_checkpoint_step(20);
    lease.mutable_checkpoint()->set_sha256(Sha256Hex("checkpoint"));
    v1::Artifact& file = *lease.mutable_checkpoint()->add_files();
    file.set_path("state.json");
    file.set_sha256(Sha256Hex("state"));
    file.set_size_bytes(5);
    return lease;
  }
};

TEST_F(ResumedAttemptTest, ACorruptCheckpointIsReportedByItsStep) {
  server_.CorruptBlob(Sha256Hex("state"));
  Begin();
  const worker::v1::FinishAttemptRequest finish = server_.WaitForFinish("a");
  Join();
  EXPECT_EQ(finish.failed().failure_class(), v1::FAILURE_CLASS_INFRASTRUCTURE);
  EXPECT_EQ(CorruptCheckpointOf(finish.failed().error()), 20);
}

// It was sound when it was laid out.
TEST_F(ResumedAttemptTest, ACheckpointThatTheEngineFindsDamagedIsLookedAtAgain) {
  server_.AddBlob("state");
  const EngineCommand run = BeginAndRun();
  const std::string laid_out = run.run().checkpoint_directory() + "/state.json";
  std::error_code error;
  ASSERT_TRUE(WriteFileAtomically(std::filesystem::canonical(laid_out, error), "spoilt").ok());
  server_.CorruptBlob(Sha256Hex("state"));
  engine().Finish(15 /* DATA_LOSS */);
  EXPECT_EQ(CorruptCheckpointOf(server_.WaitForFinish("a").failed().error()), 20);
}

TEST_F(ResumedAttemptTest, ASpoiltCopyOfACheckpointIsMendedAndTheServersIsKept) {
  server_.AddBlob("state");
  const EngineCommand run = BeginAndRun();
  const std::string laid_out = run.run().checkpoint_directory() + "/state.json";
  std::error_code error;
  ASSERT_TRUE(WriteFileAtomically(std::filesystem::canonical(laid_out, error), "spoilt").ok());
  engine().Finish(15 /* DATA_LOSS */);
  EXPECT_FALSE(CorruptCheckpointOf(server_.WaitForFinish("a").failed().error()).has_value());
  Join();
  EXPECT_EQ(ReadFile(laid_out, 100).value(), "state");
}

}  // namespace
}  // namespace graft
