#include "server/process/server_flags.h"

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// CLI11 takes arguments from the back of the list.
void Parse(std::vector<std::string> arguments, ServerFlags& flags) {
  CLI::App app;
  AddServerOptions(app, flags);
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
}

TEST(ServerFlagsTest, PlacesFollowFromTheDataDirectory) {
  ServerFlags flags;
  Parse({"--data", "/srv/graft"}, flags);
  ASSERT_TRUE(CompleteServerFlags(flags).ok());
  EXPECT_EQ(flags.store, "sqlite:/srv/graft/graft.db");
  EXPECT_EQ(flags.artifacts, "/srv/graft/artifacts");
  EXPECT_EQ(flags.worker_listen, "unix:/srv/graft/workers.sock");
  EXPECT_THAT(flags.worker_program, HasSubstr("/graft-worker"));
}

TEST(ServerFlagsTest, TheConfigurationFileSetsWhatTheCommandLineDoesNot) {
  const TempDir directory;
  const std::string file = directory.Path("graft.toml");
  ASSERT_TRUE(WriteFileAtomically(file, "workers=3\nmax-queued-jobs=17\nlog-json=true\n").ok());
  ServerFlags flags;
  Parse({"--config", file, "--workers", "1"}, flags);
  EXPECT_EQ(flags.workers, 1);
  EXPECT_EQ(flags.max_queued_jobs, 17);
  EXPECT_TRUE(flags.log_json);
}

TEST(ServerFlagsTest, AnUnknownKeyOfTheConfigurationIsNamed) {
  const TempDir directory;
  const std::string file = directory.Path("graft.toml");
  ASSERT_TRUE(WriteFileAtomically(file, "wrokers=3\n").ok());
  ServerFlags flags;
  try {
    Parse({"--config", file}, flags);
    FAIL() << "the key was taken";
  } catch (const CLI::ParseError& error) {
    EXPECT_THAT(error.what(), HasSubstr("wrokers"));
  }
}

TEST(ServerFlagsTest, ValuesOutOfRangeAreRefused) {
  for (const std::vector<std::string>& bad : {std::vector<std::string>{"--workers", "-1"},
                                              {"--workers", "many"},
                                              {"--engine-threads", "0"},
                                              {"--max-queued-jobs", "0"},
                                              {"--no-such-flag"}}) {
    ServerFlags flags;
    EXPECT_THROW(Parse(bad, flags), CLI::ParseError) << bad[0];
  }
}

TEST(ServerFlagsTest, HostsAreGivenOneByOneAndLeaveCommandsTheirWords) {
  ServerFlags flags;
  Parse({"--http-host", "graft.lab", "--http-host", "graft", "stop", "--all"}, flags);
  EXPECT_THAT(flags.http_hosts, ElementsAre("graft.lab", "graft"));
  EXPECT_EQ(flags.command, ServerCommand::kStop);
  EXPECT_FALSE(flags.http_api);
}

TEST(ServerFlagsTest, AddressesThatOthersReachNeedInsecure) {
  for (const char* flag : {"--listen", "--http", "--worker-listen"}) {
    ServerFlags flags;
    Parse({flag, "0.0.0.0:1234"}, flags);
    const absl::Status refused = CompleteServerFlags(flags);
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(refused.message()), HasSubstr(flag));
    EXPECT_THAT(std::string(refused.message()), HasSubstr("--insecure"));
    flags.insecure = true;
    EXPECT_TRUE(CompleteServerFlags(flags).ok());
  }
}

TEST(ServerFlagsTest, WhatCannotWorkIsRefusedByFlag) {
  ServerFlags flags;
  flags.lease_seconds = 9;
  EXPECT_THAT(std::string(CompleteServerFlags(flags).message()), HasSubstr("--lease-seconds"));
  flags = {};
  flags.listen = "nonsense";
  EXPECT_THAT(std::string(CompleteServerFlags(flags).message()), HasSubstr("--listen"));
  flags = {};
  flags.data = "/" + std::string(150, 'd');
  EXPECT_THAT(std::string(CompleteServerFlags(flags).message()), HasSubstr("--worker-listen"));
}

TEST(ServerFlagsTest, StopIsASubcommand) {
  ServerFlags flags;
  Parse({"stop", "--all", "--data", "/srv/graft"}, flags);
  EXPECT_EQ(flags.command, ServerCommand::kStop);
  EXPECT_TRUE(flags.stop_all);
  EXPECT_EQ(flags.data, "/srv/graft");
}

}  // namespace
}  // namespace graft
