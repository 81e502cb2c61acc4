#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/agent/agent_fixture.h"

namespace graft {
namespace {

using engine::v1::EngineCommand;
using engine::v1::EngineEvent;
using ::testing::ElementsAre;
using ::testing::Pair;

class AgentTextTest : public AgentTest {
 protected:
  void Ask(const std::string& id, const std::string& base = "base", int row = 0) {
    worker::v1::Command command;
    command.mutable_generate()->set_id(id);
    command.mutable_generate()->set_row(row);
    command.mutable_generate()->mutable_base_model()->set_sha256(Sha256Hex(base));
    server_.Command(command);
  }
  // The engine's whole answer to the request: "hello" and the end of it.
  static void Answer(EngineScript& script, const std::string& id, int row = 0) {
    for (const bool done : {false, true}) {
      EngineEvent event;
      event.set_job(id);
      event.set_row(row);
      event.mutable_generated()->set_text(done ? "" : "hello");
      event.mutable_generated()->set_done(done);
      script.Say(event);
    }
  }
  // The engine ends the request with a failure.
  static void Fail(EngineScript& script, const std::string& id, absl::StatusCode code) {
    EngineEvent event;
    event.set_job(id);
    event.mutable_finished()->mutable_status()->set_code(static_cast<int>(code));
    script.Say(event);
  }
  void ExpectHello(const std::string& id) {
    const auto messages = server_.WaitForText(id);
    ASSERT_EQ(messages.size(), 2);
    EXPECT_EQ(messages[0].response().text(), "hello");
    EXPECT_TRUE(messages[1].response().done());
  }
};

TEST_F(AgentTextTest, TextsAreStreamedAndTheEngineStaysWarm) {
  StartAgent();
  for (const char* id : {"g1", "g2"}) {
    Answer(*launcher_.Script(0), id);
    Ask(id);
    ExpectHello(id);
  }
}

TEST_F(AgentTextTest, ABatchIsOverWhenEachTextOfItHasEnded) {
  StartAgent();
  EngineScript& engine = *launcher_.Script(0);
  Ask("g1");
  Ask("g1", "base", 1);
  engine.WaitForCommands(EngineCommand::kGenerate, 2);
  Answer(engine, "g1", 1);
  // It joins while the first is still being made.
  Ask("g1", "base", 2);
  engine.WaitForCommands(EngineCommand::kGenerate, 3);
  Answer(engine, "g1", 0);
  Answer(engine, "g1", 2);
  std::map<int, int> messages;
  for (const auto& message : server_.WaitForText("g1")) ++messages[message.row()];
  EXPECT_THAT(messages, ElementsAre(Pair(0, 2), Pair(1, 2), Pair(2, 2)));
  // What comes of it now is nobody's, and keeps nobody.
  Ask("g1", "base", 3);
  Answer(engine, "g2");
  Ask("g2");
  ExpectHello("g2");
  EXPECT_EQ(launcher_.launched(), 1);
}

TEST_F(AgentTextTest, ATextWhoseAdapterCannotBeHadFailsAlone) {
  StartAgent();
  EngineScript& engine = *launcher_.Script(0);
  Ask("g1");
  engine.WaitForCommand(EngineCommand::kGenerate);
  worker::v1::Command command;
  command.mutable_generate()->set_id("g1");
  command.mutable_generate()->set_row(1);
  command.mutable_generate()->mutable_base_model()->set_sha256(Sha256Hex("base"));
  v1::Artifact& file = *command.mutable_generate()->mutable_adapter()->add_files();
  file.set_path("adapter_config.json");
  file.set_sha256(Sha256Hex("nobody has it"));
  command.mutable_generate()->mutable_adapter()->set_sha256(Sha256Hex("adapter"));
  server_.Command(command);
  EXPECT_EQ(engine.WaitForCommand(EngineCommand::kCancel).row(), 1);
  EngineEvent cancelled;
  cancelled.set_job("g1");
  cancelled.set_row(1);
  cancelled.mutable_finished()->mutable_status()->set_code(
      static_cast<int>(absl::StatusCode::kCancelled));
  engine.Say(cancelled);
  Answer(engine, "g1");
  const auto messages = server_.WaitForText("g1");
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[0].row(), 1);
  EXPECT_EQ(messages[0].error().code(), static_cast<int>(absl::StatusCode::kNotFound))
      << messages[0].DebugString();
  EXPECT_TRUE(messages[2].response().done());
}

TEST_F(AgentTextTest, EachTextOfAnEngineThatDiesIsToldWhy) {
  StartAgent();
  EngineScript& engine = *launcher_.Script(0);
  for (const int row : {0, 1}) Ask("g1", "base", row);
  engine.WaitForCommands(EngineCommand::kGenerate, 2);
  engine.Crash();
  const auto messages = server_.WaitForText("g1");
  ASSERT_EQ(messages.size(), 2u);
  for (const int row : {0, 1}) {
    EXPECT_EQ(messages[static_cast<size_t>(row)].row(), row);
    EXPECT_EQ(messages[static_cast<size_t>(row)].error().code(),
              static_cast<int>(absl::StatusCode::kUnavailable));
  }
}

TEST_F(AgentTextTest, AWorkerThatServesLeasesNoJob) {
  StartAgent(1, /*serves_only=*/true);
  server_.AddJob("a");
  for (const char* id : {"g1", "g2"}) {
    Answer(*launcher_.Script(0), id);
    Ask(id);
    ExpectHello(id);
  }
  EXPECT_EQ(launcher_.Script(0)->Count(EngineCommand::kRun), 0);
}

TEST_F(AgentTextTest, JobsAndTextsFollowEachOtherOnOneEngine) {
  StartAgent();
  EngineScript& engine = *launcher_.Script(0);
  Answer(engine, "g1");
  Ask("g1");
  ExpectHello("g1");
  for (const char* job : {"a", "b"}) {
    server_.AddJob(job);
    engine.WaitForCommand(EngineCommand::kRun);
    engine.Finish();
    EXPECT_TRUE(server_.WaitForFinish(job).has_succeeded());
    engine.ForgetCommands();
  }
  EXPECT_EQ(launcher_.launched(), 1);
}

TEST_F(AgentTextTest, ATextOnTheBaseModelOfAJobIsMadeBesideIt) {
  StartAgent();
  EngineScript& engine = *launcher_.Script(0);
  server_.AddJob("a");
  engine.WaitForCommand(EngineCommand::kRun);
  for (const char* id : {"g1", "g2"}) {
    engine.ForgetCommands();
    Ask(id);
    const EngineCommand asked = engine.WaitForCommand(EngineCommand::kGenerate);
    EXPECT_TRUE(asked.log_file().empty()) << "its words are the job's";
    Answer(engine, id);
    ExpectHello(id);
  }
  engine.Finish();
  EXPECT_TRUE(server_.WaitForFinish("a").has_succeeded());
  EXPECT_EQ(launcher_.launched(), 1);
}

TEST_F(AgentTextTest, ATextOnAnotherBaseModelDoesNotWaitBehindAJob) {
  StartAgent();
  server_.AddJob("a");
  launcher_.Script(0)->WaitForCommand(EngineCommand::kRun);
  Ask("g1", "another");
  EXPECT_EQ(server_.WaitForText("g1").back().error().code(),
            static_cast<int>(absl::StatusCode::kUnavailable));
  launcher_.Script(0)->Finish();
  server_.WaitForFinish("a");
}

TEST_F(AgentTextTest, HeartbeatsNameTheBaseModelsThatAreHeld) {
  StartAgent();
  const std::string base = Sha256Hex("base");
  server_.AddJob("a");
  launcher_.Script(0)->WaitForCommand(EngineCommand::kRun);
  server_.WaitForHeartbeat([&](const worker::v1::HeartbeatRequest& heartbeat) {
    return heartbeat.busy_base_models_size() == 1 && heartbeat.busy_base_models(0) == base &&
           heartbeat.idle_base_models().empty();
  });
  launcher_.Script(0)->Finish();
  server_.WaitForHeartbeat([&](const worker::v1::HeartbeatRequest& heartbeat) {
    return heartbeat.idle_base_models_size() == 1 && heartbeat.idle_base_models(0) == base &&
           heartbeat.busy_base_models().empty();
  });
}

TEST_F(AgentTextTest, ACancelReachesATextBesideAJobAndTheJobGoesOn) {
  StartAgent();
  EngineScript& engine = *launcher_.Script(0);
  server_.AddJob("a");
  engine.WaitForCommand(EngineCommand::kRun);
  Ask("g1");
  engine.WaitForCommand(EngineCommand::kGenerate);
  worker::v1::Command cancel;
  cancel.mutable_cancel_generate()->set_id("g1");
  server_.Command(cancel);
  EXPECT_EQ(engine.WaitForCommand(EngineCommand::kCancel).job(), "g1");
  Fail(engine, "g1", absl::StatusCode::kCancelled);
  server_.WaitForText("g1");
  EXPECT_FALSE(engine.dead());
  engine.Finish();
  EXPECT_TRUE(server_.WaitForFinish("a").has_succeeded());
}

TEST_F(AgentTextTest, WhatAnEngineSaysOfItselfIsKnownWhoeverHearsIt) {
  StartAgent();
  EngineEvent hello;
  hello.mutable_hello()->set_device("cpu");
  launcher_.Script(0)->Say(hello);
  Ask("g1");
  EngineEvent done;
  done.set_job("g1");
  done.mutable_generated()->set_done(true);
  launcher_.Script(0)->Say(done);
  server_.WaitForText("g1");
  server_.AddJob("a");
  launcher_.Script(0)->Finish();
  server_.WaitForFinish("a");
  EXPECT_THAT(server_.capabilities().back().devices(), testing::ElementsAre("cpu"));
}

// What is wrong with a text is not the job's fault.
TEST_F(AgentTextTest, AJobWhoseEngineATextBreaksGoesBackUncounted) {
  StartAgent();
  for (const bool crashes : {true, false}) {
    EngineScript& engine = *launcher_.Script(crashes ? 0 : 1);
    const std::string job = crashes ? "a" : "b", id = crashes ? "g1" : "g2";
    server_.AddJob(job);
    engine.WaitForCommand(EngineCommand::kRun);
    Ask(id);
    engine.WaitForCommand(EngineCommand::kGenerate);
    EngineEvent begins;
    begins.set_job(id);
    begins.mutable_progress();
    engine.Say(begins);
    engine.WaitUntilHeard();
    if (!crashes) {
      EngineEvent broken;
      broken.set_job(id);
      broken.mutable_finished()->mutable_status()->set_code(13 /* INTERNAL */);
      broken.mutable_finished()->set_engine_is_broken(true);
      engine.Say(broken);
      // The job meets it at once, and says so before anybody has ended the engine.
      broken.set_job(engine.WaitForCommand(EngineCommand::kRun).job());
      broken.mutable_finished()->set_failure_class(v1::FAILURE_CLASS_INTERNAL);
      engine.Say(broken);
    }
    if (crashes) engine.Crash();
    const auto finish = server_.WaitForFinish(job);
    EXPECT_TRUE(finish.returned().bystander()) << finish.DebugString();
    EXPECT_FALSE(finish.returned().worker_fault());
    EXPECT_EQ(server_.WaitForText(id).back().error().code(), crashes ? 14 : 13);
  }
}

TEST_F(AgentTextTest, ARefusedRequestLeavesTheEngineWarm) {
  StartAgent();
  Fail(*launcher_.Script(0), "g1", absl::StatusCode::kInvalidArgument);
  Ask("g1");
  EXPECT_EQ(server_.WaitForText("g1").back().error().code(),
            static_cast<int>(absl::StatusCode::kInvalidArgument));
  Answer(*launcher_.Script(0), "g2");
  Ask("g2");
  ExpectHello("g2");
}

TEST_F(AgentTextTest, AfterAFailureOfTheEngineTheNextTextHasAFreshOne) {
  StartAgent();
  size_t engine = 0;
  for (const auto code : {absl::StatusCode::kInternal, absl::StatusCode::kResourceExhausted}) {
    const std::string failing = absl::StrCat("g", engine);
    Fail(*launcher_.Script(engine), failing, code);
    Ask(failing);
    EXPECT_EQ(server_.WaitForText(failing).back().error().code(), static_cast<int>(code));
    ++engine;
  }
  Answer(*launcher_.Script(engine), "last");
  Ask("last");
  ExpectHello("last");
}

}  // namespace
}  // namespace graft
