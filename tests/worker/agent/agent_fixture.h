#pragma once

// An agent with scripted engines on a fake server.

#include <unistd.h>

#include <memory>
#include <string>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/telemetry/metrics.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "tests/worker/agent/fake_server.h"
#include "tests/worker/agent/scripted_engine.h"
#include "worker/agent/agent.h"

namespace graft {

class AgentTest : public ::testing::Test {
 protected:
  AgentTest()
      : directory_(testing::TempDir() + "/agent_test_" + std::to_string(getpid())),
        server_(Made(directory_) + "/server.sock") {}
  ~AgentTest() override {
    if (agent_ != nullptr) agent_->Stop();
    agent_.reset();
    server_.Stop();
    RemoveTree(directory_).IgnoreError();
  }
  static std::string Made(const std::string& directory) {
    EXPECT_TRUE(CreateDirectories(directory).ok());
    return directory;
  }

  void StartAgent(int slots = 1, bool serves_only = false) {
    Agent::Options options;
    options.serves_only = serves_only;
    options.identity.set_id("w-1");
    options.slots = slots;
    options.engine_memory_bytes = kEngineMemoryBytes;
    options.state_directory = directory_ + "/state";
    options.link.first_delay = absl::Milliseconds(1);
    options.link.last_delay = absl::Milliseconds(20);
    agent_ = std::make_unique<Agent>(
        options, grpc::CreateChannel(server_.address(), grpc::InsecureChannelCredentials()),
        launcher_, Clock::Real(), metrics_);
    ASSERT_TRUE(agent_->Start().ok());
  }
  // Writes a file of the engine's work directory and describes it.
  v1::Artifact Write(const std::string& directory, const std::string& name,
                     const std::string& content) {
    EXPECT_TRUE(CreateDirectories(directory).ok());
    EXPECT_TRUE(WriteFileAtomically(directory + "/" + name, content).ok());
    v1::Artifact artifact;
    artifact.set_path(name);
    artifact.set_sha256(Sha256Hex(content));
    artifact.set_size_bytes(static_cast<int64_t>(content.size()));
    return artifact;
  }

  static constexpr int64_t kEngineMemoryBytes = 5'000'000'000;

  const std::string directory_;
  FakeServer server_;
  ScriptedLauncher launcher_;
  MetricRegistry metrics_;
  std::unique_ptr<Agent> agent_;
};

}  // namespace graft
