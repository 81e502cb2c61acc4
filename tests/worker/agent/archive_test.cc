// A server of an earlier build is served by this worker: what it leased out is run.

#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/strip.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "google/protobuf/unknown_field_set.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "tests/archive/recorded_calls.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/agent/fake_server.h"
#include "tests/worker/agent/scripted_engine.h"
#include "worker/agent/agent.h"

namespace graft {
namespace {

worker::v1::Lease LeaseOf(const std::string& folder) {
  for (const RecordedCall& call : ReadRecordedCalls(folder)) {
    if (call.method != "LeaseJob") continue;
    return Parsed<worker::v1::LeaseJobResponse>(call.answers.at(0)).lease();
  }
  ADD_FAILURE() << folder << " has no lease";
  return {};
}

class ArchivedServerTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ArchivedServerTest, GivesLeasesThatThisWorkerRuns) {
  const TempDir directory;
  FakeServer server(directory.Path("server.sock"));
  const worker::v1::Lease lease = LeaseOf(GetParam());
  for (const auto& entry : std::filesystem::recursive_directory_iterator(GetParam() + "/blobs")) {
    if (entry.is_regular_file()) server.AddBlob(*ReadFile(entry.path().string(), 1 << 20));
  }
  ScriptedLauncher launcher;
  MetricRegistry metrics;
  Agent::Options options;
  options.identity.set_id("w-1");
  options.state_directory = directory.Path("state");
  Agent agent(options, grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials()),
              launcher, Clock::Real(), metrics);
  ASSERT_TRUE(agent.Start().ok());
  server.AddLease(lease);

  const auto run = launcher.Script(0)->WaitForCommand(engine::v1::EngineCommand::kRun).run();
  EXPECT_EQ(run.resolved_spec().SerializeAsString(), lease.resolved_spec().SerializeAsString());
  for (const v1::Artifact& file : lease.base_model().files()) {
    EXPECT_EQ(*Sha256HexOfFile(JoinPath(run.base_model_directory(), file.path())), file.sha256());
  }
  EXPECT_EQ(*Sha256HexOfFile(run.train_file()), lease.train_data().sha256());
  EXPECT_EQ(*Sha256HexOfFile(run.validation_file()), lease.validation_data().sha256());
  launcher.Script(0)->Finish();
  EXPECT_TRUE(
      server.WaitForFinish(std::string(absl::StripPrefix(lease.job(), "jobs/"))).has_succeeded());
  agent.Stop();
}

INSTANTIATE_TEST_SUITE_P(Archives, ArchivedServerTest, ::testing::ValuesIn(RecordedWorkers()),
                         [](const auto& info) { return absl::StrCat("Number", info.index); });

}  // namespace
}  // namespace graft
