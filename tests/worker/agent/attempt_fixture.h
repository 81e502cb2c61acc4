#pragma once

// One attempt with a scripted engine and a fake server.

#include <unistd.h>

#include <memory>
#include <string>
#include <thread>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "tests/worker/agent/fake_server.h"
#include "tests/worker/agent/scripted_engine.h"
#include "worker/agent/attempt.h"

namespace graft {

// One attempt at job "a", on a clock that the test moves; Enforce is called by the test.
class AttemptTest : public ::testing::Test {
 protected:
  // `lease`: what it carries besides.
  explicit AttemptTest(worker::v1::Lease lease = {})
      : directory_(testing::TempDir() + "/attempt_test_" + std::to_string(getpid())),
        server_(Made(directory_) + "/server.sock"),
        link_(grpc::CreateChannel(server_.address(), grpc::InsecureChannelCredentials()), Fast()),
        inputs_(directory_ + "/cache", link_),
        engines_({}, launcher_, clock_) {
    server_.AddJob("a", /*lease_epoch=*/1, std::move(lease));
    worker::v1::LeaseJobResponse leased = link_.LeaseJob("r").value();
    Attempt::Options options;
    options.work_directory = directory_ + "/work";
    attempt_ = std::make_unique<Attempt>(options, Attempt::Parts{link_, inputs_, engines_, clock_},
                                         leased.lease(), clock_.Boottime() + absl::Seconds(55));
  }
  ~AttemptTest() override {
    attempt_->End(Attempt::EndReason::kLeaseLost, absl::AbortedError("the test is over"));
    if (thread_.joinable()) thread_.join();
    server_.Stop();
    RemoveTree(directory_).IgnoreError();
  }
  static std::string Made(const std::string& directory) {
    EXPECT_TRUE(CreateDirectories(directory).ok());
    return directory;
  }
  static ServerLink::Options Fast() {
    ServerLink::Options options;
    options.identity.set_id("w-1");
    options.first_delay = absl::Milliseconds(1);
    options.last_delay = absl::Milliseconds(20);
    options.call_timeout = absl::Hours(1);  // What ends a call is never the time.
    return options;
  }
  void Begin() {
    thread_ = std::thread([this] { outcome_ = attempt_->Run(); });
  }
  engine::v1::EngineCommand BeginAndRun() {
    Begin();
    engine().WaitForCommand(
        engine::v1::EngineCommand::kFence);  // From here on the attempt has an engine.
    return engine().WaitForCommand(engine::v1::EngineCommand::kRun);
  }
  // Its engine has finished, and the upload of the result waits.
  void BeginAndHoldTheUpload() {
    const engine::v1::EngineCommand run = BeginAndRun();
    server_.HoldTransfers();
    const std::string output = run.run().work_directory() + "/output";
    ASSERT_TRUE(CreateDirectories(output).ok());
    ASSERT_TRUE(WriteFileAtomically(output + "/adapter_config.json", "adapter").ok());
    engine::v1::EngineEvent finished;
    v1::Artifact& file = *finished.mutable_finished()->add_output();
    file.set_path("adapter_config.json");
    file.set_sha256(Sha256Hex("adapter"));
    file.set_size_bytes(7);
    engine().Say(finished);
    server_.WaitUntilHeld();
  }
  // The engine says that it has paused.
  void SayPaused() {
    engine::v1::EngineEvent finished;
    finished.mutable_finished()->mutable_status()->set_code(1 /* CANCELLED */);
    finished.mutable_finished()->set_paused(true);
    engine().Say(finished);
  }
  void Join() { thread_.join(); }
  EngineScript& engine() { return *launcher_.Script(0); }
  void Progress(int64_t pulse, bool waiting = false) {
    engine::v1::EngineEvent event;
    event.mutable_progress()->set_stage(v1::JOB_STAGE_TRAINING);
    event.mutable_progress()->set_pulse(pulse);
    event.mutable_progress()->set_waiting(waiting);
    engine().Say(event);
    engine().WaitUntilHeard();
  }
  void Pass(absl::Duration time) {
    clock_.Advance(time);
    attempt_->Enforce();
  }

  const std::string directory_;
  FakeClock clock_;
  FakeServer server_;
  ServerLink link_;
  InputCache inputs_;
  ScriptedLauncher launcher_;
  EnginePool engines_;
  std::unique_ptr<Attempt> attempt_;
  Attempt::Outcome outcome_;
  std::thread thread_;
};

}  // namespace graft
