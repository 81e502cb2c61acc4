#include "worker/agent/shared_engine.h"

#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/agent/scripted_engine.h"

namespace graft {
namespace {

using engine::v1::EngineEvent;
using ::testing::ElementsAre;

class SharedEngineTest : public ::testing::Test {
 protected:
  SharedEngineTest()
      : script_(std::make_shared<EngineScript>()),
        engine_(std::make_unique<ScriptedEngine>(script_)) {
    engine_.Open("job", SharedEngine::Kind::kJob);
    engine_.Open("text", SharedEngine::Kind::kText);
  }
  void Say(const std::string& subject, int64_t number) {
    EngineEvent event;
    event.set_job(subject);
    event.mutable_progress()->set_step(number);
    script_->Say(event);
  }
  int64_t Read(const std::string& subject) {
    const auto event = engine_.Read(subject);
    EXPECT_TRUE(event.ok()) << event.status();
    EXPECT_EQ(event->job(), subject);
    return event->progress().step();
  }

  const std::shared_ptr<EngineScript> script_;
  SharedEngine engine_;
};

TEST_F(SharedEngineTest, EverybodyHearsWhatIsAboutHimInItsOrder) {
  for (int i = 0; i < 3; ++i) {
    Say("job", i);
    Say("text", 10 + i);
  }
  EXPECT_THAT((std::vector<int64_t>{Read("text"), Read("text"), Read("text")}),
              ElementsAre(10, 11, 12));
  EXPECT_THAT((std::vector<int64_t>{Read("job"), Read("job"), Read("job")}), ElementsAre(0, 1, 2));
}

TEST_F(SharedEngineTest, HelloIsForWhoeverReads) {
  EngineEvent hello;
  hello.mutable_hello()->set_device("cpu");
  script_->Say(hello);
  EXPECT_EQ(engine_.Read("text")->hello().device(), "cpu");
}

TEST_F(SharedEngineTest, WhoLeavesLetsTheNextRead) {
  std::thread text([&] { EXPECT_EQ(Read("text"), 1); });
  script_->WaitUntilHeard();  // It reads for both.
  int64_t heard = 0;
  std::thread job([&] { heard = Read("job"); });
  Say("text", 1);
  text.join();
  Say("job", 2);
  job.join();
  EXPECT_EQ(heard, 2);
}

TEST_F(SharedEngineTest, WhatIsAboutNobodyIsDropped) {
  engine_.Close("text");
  Say("text", 1);
  Say("job", 2);
  EXPECT_EQ(Read("job"), 2);
}

// The backpressure of a job's outbox reaches the engine, whoever reads.
TEST_F(SharedEngineTest, AJobThatReadsNothingHoldsUpTheEngine) {
  const int64_t most = SharedEngine::kMaxWaiting, many = 20 * most;
  for (int64_t i = 0; i < many; ++i) Say("job", i);
  Say("text", 1);
  std::thread text([&] { EXPECT_EQ(Read("text"), 1); });
  for (int64_t i = 0; i < many; ++i) {
    EXPECT_EQ(Read("job"), i);
    // What was taken from it: what was read here, what waits, and what finds no place to wait.
    EXPECT_GE(script_->unheard(), many - i - most - 1);
  }
  text.join();
}

TEST_F(SharedEngineTest, ATextThatReadsNothingHoldsUpNobody) {
  const int64_t many = 10 * SharedEngine::kMaxWaiting;
  for (int64_t i = 0; i < many; ++i) Say("text", i);
  Say("job", 1);
  EXPECT_EQ(Read("job"), 1);
  for (int64_t i = 0; i < many; ++i) EXPECT_EQ(Read("text"), i);
}

TEST_F(SharedEngineTest, ItsEndIsHeardByAllAfterWhatItSaid) {
  Say("text", 1);
  script_->Crash();
  EXPECT_TRUE(absl::IsOutOfRange(engine_.Read("job").status()));
  EXPECT_EQ(Read("text"), 1);
  EXPECT_TRUE(absl::IsOutOfRange(engine_.Read("text").status()));
}

}  // namespace
}  // namespace graft
