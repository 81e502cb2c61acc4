#include "worker/agent/agent.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/agent/agent_fixture.h"

namespace graft {
namespace {

using engine::v1::EngineCommand;
using engine::v1::EngineEvent;
using ::testing::ElementsAre;

TEST_F(AgentTest, RunsAJobAndUploadsItsResult) {
  StartAgent();
  server_.AddJob("a");
  EngineScript& engine = *launcher_.Script(0);
  const EngineCommand run = engine.WaitForCommand(EngineCommand::kRun);
  EXPECT_EQ(ReadFile(run.run().base_model_directory() + "/config.json", 10).value(), "{}");
  engine.Metrics(1);
  EngineEvent finished;
  *finished.mutable_finished()->add_output() =
      Write(run.run().work_directory() + "/output", "adapter_config.json", "adapter");
  engine.Say(finished);

  const auto finish = server_.WaitForFinish("a");

  ASSERT_TRUE(finish.has_succeeded());
  EXPECT_EQ(finish.succeeded().output(0).path(), "adapter_config.json");
  EXPECT_TRUE(server_.HasBlob(Sha256Hex("adapter")));
  EXPECT_EQ(finish.last_batch(), 1);
  EXPECT_THAT(server_.History("a"), ElementsAre("event 1"));
}

// As servers send it that make the field by asking for it.
TEST_F(AgentTest, AnInputWithoutAHashIsNone) {
  StartAgent();
  worker::v1::Lease lease;
  lease.mutable_train_data();
  lease.mutable_validation_data();
  server_.AddJob("a", 1, lease);
  const EngineCommand run = launcher_.Script(0)->WaitForCommand(EngineCommand::kRun);
  EXPECT_EQ(run.run().train_file(), "");
  EXPECT_EQ(run.run().validation_file(), "");
  launcher_.Script(0)->Finish();
  EXPECT_TRUE(server_.WaitForFinish("a").has_succeeded());
}

TEST_F(AgentTest, ACrashedEngineIsReportedAsInfrastructureAndTheWorkerGoesOn) {
  StartAgent();
  server_.AddJob("a");
  launcher_.Script(0)->WaitForCommand(EngineCommand::kRun);
  launcher_.Script(0)->Crash();
  const auto crashed = server_.WaitForFinish("a");
  EXPECT_EQ(crashed.failed().failure_class(), v1::FAILURE_CLASS_INFRASTRUCTURE);
  EXPECT_THAT(crashed.failed().error().message(), testing::HasSubstr("signal 9"));

  server_.AddJob("b");
  launcher_.Script(1)->Finish();
  EXPECT_TRUE(server_.WaitForFinish("b").has_succeeded());
  EXPECT_THAT(metrics_.Text(), testing::HasSubstr("graft_engine_crashes_total 1"));
}

TEST_F(AgentTest, AnEngineThatDiedBeforeItGotTheJobIsNoFailureOfIt) {
  StartAgent();
  server_.AddJob("a");
  launcher_.Script(0)->Finish();
  EXPECT_TRUE(server_.WaitForFinish("a").has_succeeded());
  launcher_.Script(0)->DieOfNextRun();
  server_.AddJob("b");
  launcher_.Script(1)->Finish();
  EXPECT_TRUE(server_.WaitForFinish("b").has_succeeded());
}

TEST_F(AgentTest, WhatAnEngineSaysOfItselfGoesWithTheNextLease) {
  StartAgent();
  server_.AddJob("a");
  EngineEvent hello;
  hello.mutable_hello()->set_device("cpu");
  hello.mutable_hello()->set_cpu_capability("AVX2");
  launcher_.Script(0)->Say(hello);
  launcher_.Script(0)->Finish();
  server_.WaitForFinish("a");
  server_.AddJob("b");
  launcher_.Script(0)->Finish();
  server_.WaitForFinish("b");
  EXPECT_TRUE(server_.capabilities().front().devices().empty());
  const worker::v1::Capabilities able = server_.capabilities().back();
  EXPECT_THAT(able.devices(), ElementsAre("cpu"));
  EXPECT_EQ(able.cpu_capability(), "AVX2");
}

TEST_F(AgentTest, ACrashStaysWithTheJobBeforeItsEndIsTold) {
  StartAgent();
  server_.AddJob("a");
  const EngineCommand run = launcher_.Script(0)->WaitForCommand(EngineCommand::kRun);
  ASSERT_TRUE(WriteFileAtomically(run.run().work_directory() + ".log", "terminate called\n").ok());
  launcher_.Script(0)->Crash();
  const auto crashed = server_.WaitForFinish("a");
  EXPECT_THAT(crashed.failed().error().message(), testing::HasSubstr("terminate called"));
  EXPECT_EQ(server_.Log("a", v1::JOB_LOG_STREAM_ENGINE), "terminate called\n");
  const std::string worker = server_.Log("a", v1::JOB_LOG_STREAM_WORKER);
  EXPECT_THAT(worker, testing::HasSubstr("leased attempt=1"));
  EXPECT_THAT(worker, testing::HasSubstr("the engine crashed end=\"signal 9 (Killed)\""));
  EXPECT_THAT(worker, testing::HasSubstr("attempt failed attempt=1 class=INFRASTRUCTURE"));
  server_.WaitForLog("a", v1::JOB_LOG_STREAM_WORKER, "attempt over result=failed");
}

TEST_F(AgentTest, AFailureOfTheEngineKeepsItsClassAndMessage) {
  StartAgent();
  server_.AddJob("a");
  EngineEvent finished;
  finished.mutable_finished()->mutable_status()->set_code(3);
  finished.mutable_finished()->mutable_status()->set_message("line 17: no JSON");
  finished.mutable_finished()->set_failure_class(v1::FAILURE_CLASS_DATA);
  launcher_.Script(0)->Say(finished);
  const auto finish = server_.WaitForFinish("a");
  EXPECT_EQ(finish.failed().failure_class(), v1::FAILURE_CLASS_DATA);
  EXPECT_EQ(finish.failed().error().message(), "line 17: no JSON");
}

TEST_F(AgentTest, InputsThatNoMachineCouldLayOutFailTheJobForGood) {
  StartAgent();
  // What becomes of a lease with one thing wrong.
  const auto error = [&](const std::string& id, void (*spoil)(worker::v1::Lease&)) {
    worker::v1::Lease lease;
    lease.set_job("jobs/" + id);
    lease.set_attempt(1);
    lease.set_lease_epoch(1);
    lease.mutable_lease_duration()->set_seconds(60);
    lease.mutable_base_model()->set_sha256(Sha256Hex("base"));
    server_.AddBlob("{}");
    v1::Artifact& config = *lease.mutable_base_model()->add_files();
    config.set_path("config.json");
    config.set_sha256(Sha256Hex("{}"));
    spoil(lease);
    server_.AddLease(lease);
    const auto finish = server_.WaitForFinish(id);
    EXPECT_EQ(finish.failed().failure_class(), v1::FAILURE_CLASS_INTERNAL) << id;
    return finish.failed().error().message();
  };
  EXPECT_THAT(error("a", [](auto& lease) { lease.mutable_base_model()->clear_sha256(); }),
              testing::HasSubstr("\"\" is no SHA-256 of the set of files config.json"));
  EXPECT_THAT(error("b",
                    [](auto& lease) {
                      lease.mutable_base_model()->mutable_files(0)->set_path("../config.json");
                    }),
              testing::HasSubstr("\"../config.json\" is no safe file name"));
  EXPECT_THAT(error("c",
                    [](auto& lease) {
                      lease.mutable_train_data()->set_path("data.jsonl");
                      lease.mutable_train_data()->set_sha256("none");
                    }),
              testing::HasSubstr("data.jsonl: \"none\" is no SHA-256"));
}

// No worker is set aside for it, and no other one is asked to try.
TEST_F(AgentTest, AnInputThatIsCorruptInTheServersStoreFailsTheJob) {
  server_.CorruptBlob(Sha256Hex("{}"));
  StartAgent();
  server_.AddJob("a");
  const auto finish = server_.WaitForFinish("a");
  EXPECT_EQ(finish.failed().failure_class(), v1::FAILURE_CLASS_INTERNAL);
  EXPECT_THAT(finish.failed().error().message(), testing::HasSubstr("is corrupt"));
}

TEST_F(AgentTest, InputsThatTheMachineCannotTakeAreTriedElsewhere) {
  Write(directory_ + "/state/cache", "folders", "no directory");
  StartAgent();
  server_.AddJob("a");
  const auto finish = server_.WaitForFinish("a");
  EXPECT_EQ(finish.failed().failure_class(), v1::FAILURE_CLASS_INFRASTRUCTURE)
      << finish.failed().error().message();
}

TEST_F(AgentTest, AnEngineIsToldWhatMemoryItMayTake) {
  StartAgent();
  server_.AddJob("a");
  const EngineCommand command = launcher_.Script(0)->WaitForCommand(EngineCommand::kRun);
  EXPECT_EQ(command.run().memory_budget_bytes(), kEngineMemoryBytes);
  launcher_.Script(0)->Finish();
  server_.WaitForFinish("a");
}

TEST_F(AgentTest, ALostLeaseKillsItsEngine) {
  StartAgent();
  server_.AddJob("a");
  launcher_.Script(0)->WaitForCommand(EngineCommand::kRun);
  server_.MakeStale("a");
  server_.AddJob("b");  // The slot is free for it only once the engine of "a" is gone.
  launcher_.Script(1)->Finish();
  server_.WaitForFinish("b");
  EXPECT_TRUE(launcher_.Script(0)->dead());
}

TEST_F(AgentTest, AJobWhoseReportsAreRefusedIsHandedBackAtOnce) {
  StartAgent();
  server_.RefuseEventsOf("a");
  server_.AddJob("a");
  launcher_.Script(0)->WaitForCommand(EngineCommand::kRun);
  launcher_.Script(0)->Metrics(1);
  const auto finish = server_.WaitForFinish("a");
  EXPECT_EQ(finish.failed().failure_class(), v1::FAILURE_CLASS_INFRASTRUCTURE);
  EXPECT_THAT(finish.failed().error().message(), ::testing::HasSubstr("no such event"));
  EXPECT_TRUE(launcher_.Script(0)->dead());
}

TEST_F(AgentTest, ACrashIsAcknowledgedByAHeartbeatThatWasAnswered) {
  StartAgent();
  server_.AddJob("a");
  launcher_.Script(0)->WaitForCommand(EngineCommand::kRun);
  server_.RefuseHeartbeats(true);
  launcher_.Script(0)->Crash();
  server_.WaitForFinish("a");
  const auto told = [](const worker::v1::HeartbeatRequest& heartbeat) {
    return heartbeat.engine_restarts_total() == 1;
  };
  server_.WaitForHeartbeat(told);
  server_.RefuseHeartbeats(false);
  server_.WaitForHeartbeat([](const worker::v1::HeartbeatRequest& heartbeat) {
    return heartbeat.engine_restarts_acknowledged() == 1;
  });
  // Those before had no answer, or were the first that had one.
  int unacknowledged = 0;
  for (const worker::v1::HeartbeatRequest& heartbeat : server_.heartbeats()) {
    EXPECT_TRUE(heartbeat.has_engine_restarts_acknowledged());
    if (told(heartbeat) && heartbeat.engine_restarts_acknowledged() == 0) ++unacknowledged;
  }
  EXPECT_GE(unacknowledged, 2);
}

TEST_F(AgentTest, ItsLastHeartbeatSaysThatItLeaves) {
  StartAgent();
  server_.WaitForHeartbeat(
      [](const worker::v1::HeartbeatRequest& heartbeat) { return !heartbeat.leaving(); });
  agent_->Stop();
  const size_t count = server_.heartbeats().size();
  EXPECT_TRUE(server_.heartbeats().back().leaving());
  agent_->Stop();
  EXPECT_EQ(server_.heartbeats().size(), count);
}

TEST_F(AgentTest, CancelReachesTheEngine) {
  StartAgent();
  server_.AddJob("a");
  launcher_.Script(0)->WaitForCommand(EngineCommand::kRun);
  worker::v1::Command cancel;
  cancel.mutable_cancel_job()->set_job("jobs/a");
  cancel.mutable_cancel_job()->set_lease_epoch(1);
  server_.Command(cancel);
  launcher_.Script(0)->WaitForCommand(EngineCommand::kCancel);
  launcher_.Script(0)->Finish(1 /* CANCELLED */);
  EXPECT_TRUE(server_.WaitForFinish("a").has_cancelled());
}

TEST_F(AgentTest, TheFenceIsTheSendingTimePlusTheLeaseLessTheMargin) {
  StartAgent();
  const absl::Duration before = Clock::Real().Boottime();
  server_.AddJob("a");
  const EngineCommand fence = launcher_.Script(0)->WaitForCommand(EngineCommand::kFence);
  const absl::Duration after = Clock::Real().Boottime();
  const absl::Duration deadline = absl::Nanoseconds(fence.fence().boottime_ns());
  EXPECT_GE(deadline, before + absl::Seconds(55));
  EXPECT_LE(deadline, after + absl::Seconds(55));
  launcher_.Script(0)->Finish();
  server_.WaitForFinish("a");
}

TEST_F(AgentTest, TwoSlotsRunTwoJobsAtOnce) {
  StartAgent(2);
  server_.AddJob("a");
  server_.AddJob("b");
  launcher_.Script(0)->WaitForCommand(EngineCommand::kRun);
  launcher_.Script(1)->WaitForCommand(EngineCommand::kRun);
  launcher_.Script(0)->Finish();
  launcher_.Script(1)->Finish();
  server_.WaitForFinish("a");
  server_.WaitForFinish("b");
}

TEST_F(AgentTest, LeavingLetsEnginesSaveUnderTheirLeaseAndTakesNoMoreWork) {
  StartAgent();
  server_.AddJob("a");
  EngineScript& engine = *launcher_.Script(0);
  engine.WaitForCommand(EngineCommand::kRun);
  agent_->Leave(absl::Hours(1));
  engine.WaitForCommand(EngineCommand::kPause);
  server_.AddJob("b");
  const size_t sent = server_.heartbeats().size();
  server_.WaitForHeartbeat([&, seen = size_t{0}](const worker::v1::HeartbeatRequest&) mutable {
    return ++seen > sent;  // It is one that was sent after.
  });
  EXPECT_EQ(server_.heartbeats().back().leases_size(), 1) << "the lease is renewed while it saves";
  EXPECT_FALSE(server_.heartbeats().back().leaving());
  EngineEvent paused;
  paused.mutable_finished()->mutable_status()->set_code(1 /* CANCELLED */);
  paused.mutable_finished()->set_paused(true);
  engine.Say(paused);
  agent_->Stop();
  EXPECT_EQ(server_.WaitForFinish("a").returned().reason().message(), "the worker was stopped");
  EXPECT_FALSE(server_.HasFinished("b"));
  EXPECT_EQ(launcher_.launched(), 1u);
  EXPECT_TRUE(server_.heartbeats().back().leaving());
}

TEST_F(AgentTest, LeavingEndsWhenItsTimeIsOver) {
  StartAgent();
  server_.AddJob("a");
  EngineScript& engine = *launcher_.Script(0);
  engine.WaitForCommand(EngineCommand::kRun);
  agent_->Leave(absl::InfiniteDuration());
  engine.WaitForCommand(EngineCommand::kPause);
  std::thread shorter([&] { agent_->Leave(absl::Milliseconds(50)); });
  agent_->Stop();  // The engine never says a word.
  shorter.join();
  EXPECT_TRUE(engine.dead());
  EXPECT_EQ(server_.WaitForFinish("a").returned().reason().message(), "the worker was stopped");
}

TEST_F(AgentTest, StoppingHandsTheJobBack) {
  StartAgent();
  server_.AddJob("a");
  launcher_.Script(0)->WaitForCommand(EngineCommand::kRun);
  agent_->Stop();
  const auto finish = server_.WaitForFinish("a");
  EXPECT_EQ(finish.returned().reason().message(), "the worker was stopped");
  EXPECT_FALSE(finish.returned().worker_fault());
}

TEST_F(AgentTest, StoppingEndsADownload) {
  server_.HoldTransfers();
  StartAgent();
  server_.AddJob("a");
  server_.WaitUntilHeld();
  agent_->Stop();
  EXPECT_EQ(server_.WaitForFinish("a").returned().reason().message(), "the worker was stopped");
}

TEST_F(AgentTest, StoppingEndsAnUploadAndHandsTheJobBack) {
  StartAgent();
  server_.AddJob("a");
  EngineScript& engine = *launcher_.Script(0);
  const EngineCommand run = engine.WaitForCommand(EngineCommand::kRun);
  server_.HoldTransfers();
  EngineEvent finished;
  *finished.mutable_finished()->add_output() =
      Write(run.run().work_directory() + "/output", "adapter_config.json", "adapter");
  engine.Say(finished);
  server_.WaitUntilHeld();
  agent_->Stop();
  EXPECT_EQ(server_.WaitForFinish("a").returned().reason().message(), "the worker was stopped");
}

}  // namespace
}  // namespace graft
