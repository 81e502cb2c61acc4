#include "worker/agent/measurer.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/agent/agent_fixture.h"

namespace graft {
namespace {

using engine::v1::EngineCommand;
using engine::v1::EngineEvent;
using ::testing::HasSubstr;

class MeasurerTest : public AgentTest {
 protected:
  void Ask(const std::string& id) {
    worker::v1::Command command;
    worker::v1::Command::Measure& measure = *command.mutable_measure();
    measure.set_id(id);
    measure.mutable_time_limit()->set_seconds(10);
    measure.mutable_lease()->mutable_base_model()->set_sha256(Sha256Hex("base"));
    measure.mutable_lease()->mutable_resolved_spec()->mutable_fine_tune()->set_base_model("m");
    server_.Command(command);
  }
  // What the engine is asked, and under which name.
  static EngineCommand Asked(EngineScript& engine) {
    EngineCommand command = engine.WaitForCommand(EngineCommand::kMeasure);
    engine.ForgetCommands();
    return command;
  }
  static void Answer(EngineScript& engine, const std::string& subject, double seconds) {
    EngineEvent event;
    event.set_job(subject);
    event.mutable_measured()->set_seconds(seconds);
    engine.Say(event);
  }
  static void Fail(EngineScript& engine, const std::string& subject, absl::StatusCode code,
                   v1::FailureClass failure = v1::FAILURE_CLASS_UNSPECIFIED) {
    EngineEvent event;
    event.set_job(subject);
    event.mutable_finished()->mutable_status()->set_code(static_cast<int>(code));
    event.mutable_finished()->mutable_status()->set_message("so it is");
    event.mutable_finished()->set_failure_class(failure);
    engine.Say(event);
  }
  absl::StatusCode CodeOf(const std::string& id) {
    return static_cast<absl::StatusCode>(server_.WaitForMeasurement(id).error().code());
  }
};

TEST_F(MeasurerTest, AnEngineMeasuresAndStaysForTheJob) {
  StartAgent();
  EngineScript& engine = *launcher_.Script(0);
  for (const char* id : {"m1", "m2"}) {
    Ask(id);
    const EngineCommand asked = Asked(engine);
    EXPECT_EQ(asked.measure().run().resolved_spec().fine_tune().base_model(), "m");
    EXPECT_THAT(asked.measure().run().cache_directory(), HasSubstr("cache/tokens"));
    EXPECT_GT(asked.measure().within_seconds(), 0);
    EXPECT_LE(asked.measure().within_seconds(), 10);
    Answer(engine, asked.job(), 5);
    EXPECT_EQ(server_.WaitForMeasurement(id).measured().seconds(), 5);
  }
  server_.AddJob("a");
  engine.WaitForCommand(EngineCommand::kRun);
  engine.Finish();
  EXPECT_TRUE(server_.WaitForFinish("a").has_succeeded());
  EXPECT_EQ(launcher_.launched(), 1);
}

TEST_F(MeasurerTest, WhyItCouldNotBeMeasuredIsTold) {
  StartAgent();
  Ask("m1");
  EngineScript& engine = *launcher_.Script(0);
  Fail(engine, Asked(engine).job(), absl::StatusCode::kInvalidArgument, v1::FAILURE_CLASS_CONFIG);
  EXPECT_EQ(CodeOf("m1"), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(engine.dead());
  // Out of memory it holds what a job would need.
  Ask("m2");
  Fail(engine, Asked(engine).job(), absl::StatusCode::kResourceExhausted,
       v1::FAILURE_CLASS_OUT_OF_MEMORY);
  EXPECT_EQ(CodeOf("m2"), absl::StatusCode::kResourceExhausted);
  engine.WaitForDeath();
  Ask("m3");
  EngineScript& next = *launcher_.Script(1);
  Asked(next);
  next.Crash();
  EXPECT_EQ(CodeOf("m3"), absl::StatusCode::kAborted);
}

TEST_F(MeasurerTest, ItGivesWayToAJob) {
  StartAgent();
  Ask("m1");
  EngineScript& engine = *launcher_.Script(0);
  const std::string subject = Asked(engine).job();
  server_.AddJob("a");
  worker::v1::Command work;
  work.mutable_work_available();
  server_.Command(work);
  EXPECT_EQ(engine.WaitForCommand(EngineCommand::kCancel).job(), subject);
  Fail(engine, subject, absl::StatusCode::kCancelled);
  EXPECT_EQ(CodeOf("m1"), absl::StatusCode::kUnavailable);
  engine.WaitForCommand(EngineCommand::kRun);
  engine.Finish();
  EXPECT_TRUE(server_.WaitForFinish("a").has_succeeded());
}

TEST_F(MeasurerTest, OneAtATime) {
  StartAgent();
  Ask("m1");
  EngineScript& engine = *launcher_.Script(0);
  const std::string subject = Asked(engine).job();
  Ask("m2");
  EXPECT_EQ(CodeOf("m2"), absl::StatusCode::kUnavailable);
  Answer(engine, subject, 1);
  EXPECT_EQ(server_.WaitForMeasurement("m1").measured().seconds(), 1);
}

}  // namespace
}  // namespace graft
