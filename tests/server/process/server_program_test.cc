// graft-server as a program: what it says, refuses and leaves.

#include <signal.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/process_lock.h"
#include "common/base/subprocess.h"
#include "common/rpc/status.h"
#include "gmock/gmock.h"
#include "graft/v1/job.grpc.pb.h"
#include "graft/v1/model.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"
#include "tests/fakes/tiny_model.h"
#include "tests/server/process/wait_until.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class ServerProgramTest : public ::testing::Test {
 protected:
  static SubprocessOptions Program(std::vector<std::string> arguments, const std::string& log) {
    SubprocessOptions options;
    options.argv = {JoinPath(GRAFT_BINARY_DIR, "bin/graft-server")};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.stdout_path = log;
    options.stderr_path = log;
    return options;
  }

  std::vector<std::string> Arguments(const std::string& ready) {
    return {"--data", directory_.Path("data"), "--listen",     "127.0.0.1:0",
            "--http", "127.0.0.1:0",           "--ready-file", ready};
  }

  // Starts a server and waits until it is ready.
  Subprocess Start(const std::vector<std::string>& more = {}) {
    const std::string ready = directory_.Path(absl::StrCat("ready", ++starts_));
    std::vector<std::string> arguments = Arguments(ready);
    arguments.insert(arguments.end(), more.begin(), more.end());
    auto process = Subprocess::Start(Program(arguments, Log()));
    EXPECT_TRUE(process.ok()) << process.status();
    EXPECT_TRUE(WaitUntil([&] { return FileExists(ready); })) << LogText();
    ready_ = nlohmann::json::parse(*ReadFile(ready, 1 << 16));
    return *std::move(process);
  }

  // Runs the program to its end: exit code and output.
  std::pair<int, std::string> Run(const std::vector<std::string>& arguments) {
    const std::string log = directory_.Path(absl::StrCat("run", ++starts_));
    auto process = Subprocess::Start(Program(arguments, log));
    EXPECT_TRUE(process.ok()) << process.status();
    const ExitStatus end = process->Wait();
    return {end.code.value_or(-1), *ReadFile(log, 1 << 20)};
  }

  std::string Log() { return directory_.Path("server.log"); }
  std::string LogText() { return *ReadFile(Log(), 1 << 20); }
  std::string GrpcAddress() { return ready_["grpc"]; }

  const TempDir directory_;
  int starts_ = 0;
  nlohmann::json ready_;
};

TEST_F(ServerProgramTest, KnowsTheModelsGivenAndEndsOnSigterm) {
  ASSERT_TRUE(WriteTinyModel(directory_.Path("models/tiny")).ok());
  Subprocess server = Start({"--models", directory_.Path("models")});
  const auto stub = v1::ModelService::NewStub(
      grpc::CreateChannel(GrpcAddress(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::ListModelsResponse models;
  ASSERT_TRUE(stub->ListModels(&context, {}, &models).ok());
  ASSERT_EQ(models.models_size(), 1);
  EXPECT_THAT(LogText(), HasSubstr("graft-server"));
  server.Signal(SIGTERM);
  EXPECT_TRUE(server.Wait().success()) << LogText();
}

TEST_F(ServerProgramTest, ASecondServerOnTheSameDataIsRefused) {
  Subprocess server = Start();
  const auto [code, output] = Run(Arguments(directory_.Path("never")));
  EXPECT_EQ(code, 1);
  EXPECT_THAT(output, HasSubstr(absl::StrCat("process ", server.pid())));
  EXPECT_FALSE(FileExists(directory_.Path("never")));
  // Another data directory does not help if the store is the same.
  const auto [store_code, store_output] =
      Run({"--data", directory_.Path("other"), "--store",
           absl::StrCat("sqlite:", directory_.Path("data/graft.db")), "--listen", "127.0.0.1:0",
           "--http", "127.0.0.1:0"});
  EXPECT_EQ(store_code, 1);
  EXPECT_THAT(store_output, HasSubstr("graft.db"));
}

TEST_F(ServerProgramTest, AnothersWorkersAreNotTaken) {
  Subprocess server = Start();
  const std::string socket = ready_["workers"];
  const auto [code, output] = Run({"--data", directory_.Path("other"), "--worker-listen", socket,
                                   "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"});
  EXPECT_EQ(code, 1);
  EXPECT_THAT(output, HasSubstr("--worker-listen"));
  EXPECT_THAT(output, HasSubstr(absl::StrCat("process ", server.pid())));
  // Whoever is dead has nothing any more.
  server.Signal(SIGKILL);
  server.Wait();
  Subprocess next = Start();
  next.Signal(SIGTERM);
  EXPECT_TRUE(next.Wait().success()) << LogText();
}

TEST_F(ServerProgramTest, APortInUseIsNamed) {
  Subprocess server = Start();
  const auto [code, output] = Run({"--data", directory_.Path("other"), "--listen", GrpcAddress()});
  EXPECT_EQ(code, 1);
  EXPECT_THAT(output, HasSubstr(GrpcAddress()));
}

TEST_F(ServerProgramTest, StopEndsTheServerThatUsesTheData) {
  Subprocess server = Start();
  const auto [code, output] = Run({"stop", "--data", directory_.Path("data")});
  EXPECT_EQ(code, 0) << output;
  EXPECT_TRUE(server.Wait().success());
  const auto [again, nobody] = Run({"stop", "--data", directory_.Path("data")});
  EXPECT_EQ(again, 1);
  EXPECT_THAT(nobody, HasSubstr("no graft-server"));
}

TEST_F(ServerProgramTest, AKilledServerIsStartedAgainOnTheSameData) {
  Subprocess server = Start();
  server.Signal(SIGKILL);
  server.Wait();
  Subprocess next = Start();
  EXPECT_EQ(ProcessLock::OwnerOf(directory_.Path("data/server.lock")), next.pid());
  next.Signal(SIGINT);
  EXPECT_TRUE(next.Wait().success()) << LogText();
}

TEST_F(ServerProgramTest, AnotherStoreIsRefusedUntilItAdoptsTheArtifacts) {
  ASSERT_TRUE(WriteTinyModel(directory_.Path("models/tiny")).ok());
  Subprocess server = Start({"--models", directory_.Path("models")});
  server.Signal(SIGTERM);
  ASSERT_TRUE(server.Wait().success()) << LogText();
  const std::string view = directory_.Path("data/artifacts/models/tiny/config.json");
  ASSERT_TRUE(FileExists(view));

  std::vector<std::string> arguments = Arguments(directory_.Path("never"));
  arguments.insert(arguments.end(), {"--store", "memory:"});
  const auto [memory_code, memory_output] = Run(arguments);
  EXPECT_EQ(memory_code, 1);
  EXPECT_THAT(memory_output, HasSubstr("graft.db"));
  // The file is lost, and the next start makes another.
  ASSERT_TRUE(RemoveFile(directory_.Path("data/graft.db")).ok());
  const auto [code, output] = Run(Arguments(directory_.Path("never")));
  EXPECT_EQ(code, 1);
  EXPECT_THAT(output, HasSubstr("--adopt"));
  EXPECT_TRUE(FileExists(view));

  const std::vector<std::string> check = {"check", "--data", directory_.Path("data")};
  const auto [look_code, look] = Run(check);
  EXPECT_EQ(look_code, 1);
  EXPECT_THAT(look, HasSubstr("names 0 and does not name"));
  const auto [adopt_code, adopted] = Run({"check", "--adopt", "--data", directory_.Path("data")});
  EXPECT_EQ(adopt_code, 0) << adopted;
  EXPECT_EQ(Run(check).first, 0);
  Subprocess next = Start();
  EXPECT_EQ(Run(check).first, 0) << "the server that runs answers";
  next.Signal(SIGTERM);
  EXPECT_TRUE(next.Wait().success()) << LogText();
}

TEST_F(ServerProgramTest, ADirectoryWithoutAStoreIsNotMadeOne) {
  for (const char* command : {"check", "gc"}) {
    const auto [code, output] = Run({command, "--data", directory_.Path("nothing")});
    EXPECT_EQ(code, 1);
    EXPECT_THAT(output, HasSubstr("there is no file"));
  }
  EXPECT_FALSE(DirectoryExists(directory_.Path("nothing")));
  EXPECT_NE(Run({"backup", "--data", directory_.Path("nothing")}).first, 0) << "--to";
  EXPECT_NE(Run({"restore", "--data", directory_.Path("nothing")}).first, 0) << "--from";
}

TEST_F(ServerProgramTest, BadFlagsEndWithCodeTwo) {
  EXPECT_EQ(Run({"--no-such-flag"}).first, 2);
  const auto [code, output] = Run({"--data", directory_.Path("x"), "--listen", "0.0.0.0:1"});
  EXPECT_EQ(code, 2);
  EXPECT_THAT(output, HasSubstr("--insecure"));
  EXPECT_EQ(Run({"--help"}).first, 0);
}

}  // namespace
}  // namespace graft
