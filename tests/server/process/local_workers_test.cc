#include "server/process/local_workers.h"

#include <signal.h>
#include <sys/stat.h>

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/process_lock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"
#include "tests/server/process/wait_until.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class LocalWorkersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // What a worker shows of itself: it holds state/lock, its command line names its state, SIGTERM
    // ends it. Like a worker it becomes no other program once it holds the lock: while it did, it
    // would have no command line.
    const std::string script = directory_.Path("graft-worker");
    ASSERT_TRUE(WriteFileAtomically(script,
                                    "#!/bin/sh\n"
                                    "echo \"$@\"\n"
                                    "while [ $# -gt 0 ]; do\n"
                                    "  [ \"$1\" = --state ] && state=$2\n"
                                    "  shift\n"
                                    "done\n"
                                    "[ -p \"$state/never\" ] || mkfifo \"$state/never\"\n"
                                    "exec 9>\"$state/lock\"\n"
                                    "flock -n 9 || exit 1\n"
                                    "read nothing <\"$state/never\"\n")
                    .ok());
    ASSERT_EQ(::chmod(script.c_str(), 0755), 0);
    ASSERT_TRUE(CreateDirectories(Workers()).ok());
    options_.count = 2;
    options_.program = script;
    options_.server_address = "unix:/run/x.sock";
    options_.directory = Workers();
    options_.check_interval = absl::Milliseconds(5);
    options_.first_restart_delay = absl::Milliseconds(1);
  }
  void TearDown() override { LocalWorkers::StopAll(Workers(), absl::Seconds(10)); }

  std::string Workers() { return directory_.Path("workers"); }
  std::string State(int number) { return JoinPath(Workers(), absl::StrCat(number)); }
  bool Runs(int number) { return IsLocked(JoinPath(State(number), "lock")); }
  pid_t Pid(int number) {
    int32_t pid = 0;
    const auto text = ReadFile(JoinPath(State(number), "pid"), 64);
    return text.ok() && absl::SimpleAtoi(*text, &pid) ? pid : 0;
  }

  const TempDir directory_;
  LocalWorkersOptions options_;
};

TEST(RestartDelayTest, DoublesToTheLastAndBeginsAnewAfterAHealthyTime) {
  LocalWorkersOptions options;
  options.first_restart_delay = absl::Seconds(1);
  options.last_restart_delay = absl::Seconds(5);
  options.healthy_after = absl::Minutes(5);
  RestartDelay delay(options);
  for (const int seconds : {1, 2, 4, 5, 5}) {
    EXPECT_EQ(delay.After(absl::Minutes(5) - absl::Seconds(1)), absl::Seconds(seconds));
  }
  EXPECT_EQ(delay.After(absl::Minutes(5)), absl::Seconds(1));
  EXPECT_EQ(delay.After(absl::ZeroDuration()), absl::Seconds(2));
}

TEST_F(LocalWorkersTest, StartsTheWorkersAndStopsThem) {
  const auto workers = LocalWorkers::Start(options_);
  ASSERT_TRUE(workers.ok()) << workers.status();
  ASSERT_TRUE(WaitUntil([&] { return Runs(1) && Runs(2); }));
  const auto log = ReadFile(JoinPath(State(1), "worker.log"), 1 << 16);
  EXPECT_THAT(*log, HasSubstr("--server unix:/run/x.sock --state " + State(1)));
  (*workers)->Stop();
  EXPECT_FALSE(Runs(1) || Runs(2));
}

// An engine that sees these devices.
std::string FakeEngine(const TempDir& directory, const std::string& devices) {
  std::string path = directory.Path("engine");
  EXPECT_TRUE(WriteFileAtomically(path, absl::StrCat("#!/bin/sh\necho '{\"devices\": ", devices,
                                                     ", \"cuda\": true}'\n"))
                  .ok());
  EXPECT_EQ(::chmod(path.c_str(), 0755), 0);
  return path;
}

TEST_F(LocalWorkersTest, AutomaticIsOneForEachGpu) {
  options_.count = kAutomaticWorkers;
  options_.engine = FakeEngine(directory_, R"(["cpu", "cuda:0 A", "cuda:1 B", "cuda:2 C"])");
  const auto workers = LocalWorkers::Start(options_);
  ASSERT_TRUE(workers.ok()) << workers.status();
  EXPECT_TRUE(WaitUntil([&] { return Runs(1) && Runs(2) && Runs(3); }));
  EXPECT_FALSE(Runs(4));
  const auto log = ReadFile(JoinPath(State(3), "worker.log"), 1 << 16);
  EXPECT_THAT(*log, HasSubstr("--machine-workers 3"));
  (*workers)->Stop();
}

TEST_F(LocalWorkersTest, AutomaticIsOneWithoutGpus) {
  for (const char* engine : {R"(["cpu"])", "{"}) {
    options_.count = kAutomaticWorkers;
    options_.engine = FakeEngine(directory_, engine);
    const auto workers = LocalWorkers::Start(options_);
    ASSERT_TRUE(workers.ok()) << workers.status();
    EXPECT_TRUE(WaitUntil([&] { return Runs(1); }));
    EXPECT_FALSE(Runs(2));
    (*workers)->Stop();
  }
}

TEST_F(LocalWorkersTest, AKilledWorkerIsStartedAgain) {
  const auto workers = LocalWorkers::Start(options_);
  ASSERT_TRUE(workers.ok()) << workers.status();
  ASSERT_TRUE(WaitUntil([&] { return Runs(1) && Pid(1) > 0; }));
  const pid_t first = Pid(1);
  ASSERT_EQ(::kill(first, SIGKILL), 0);
  EXPECT_TRUE(WaitUntil([&] { return Runs(1) && Pid(1) != first; }));
  (*workers)->Stop();
}

TEST_F(LocalWorkersTest, WorkersSurviveTheirServerAndCountForTheNext) {
  {
    const auto workers = LocalWorkers::Start(options_);
    ASSERT_TRUE(workers.ok()) << workers.status();
    ASSERT_TRUE(WaitUntil([&] { return Runs(1) && Runs(2) && Pid(1) > 0 && Pid(2) > 0; }));
  }
  ASSERT_TRUE(Runs(1) && Runs(2));
  const pid_t survivor = Pid(1);
  ASSERT_EQ(::kill(Pid(2), SIGKILL), 0);
  const auto next = LocalWorkers::Start(options_);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_TRUE(WaitUntil([&] { return Runs(2); }));
  EXPECT_EQ(Pid(1), survivor) << "not started twice";
  (*next)->Stop();
  EXPECT_FALSE(Runs(1)) << "survivors are stopped too";
}

TEST_F(LocalWorkersTest, SurvivorsThatWereStartedOtherwiseAreReplaced) {
  {
    const auto workers = LocalWorkers::Start(options_);
    ASSERT_TRUE(workers.ok()) << workers.status();
    ASSERT_TRUE(WaitUntil([&] { return Runs(1) && Runs(2) && Pid(1) > 0 && Pid(2) > 0; }));
  }
  const pid_t survivor = Pid(1);
  options_.server_address = "unix:/run/y.sock";
  options_.count = 1;
  const auto next = LocalWorkers::Start(options_);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_TRUE(WaitUntil([&] { return Runs(1) && Pid(1) != survivor; }));
  EXPECT_TRUE(WaitUntil([&] { return !Runs(2); })) << "it is one too many";
  EXPECT_THAT(*ReadFile(JoinPath(State(1), "worker.log"), 1 << 16), HasSubstr("unix:/run/y.sock"));
  (*next)->Stop();
}

TEST_F(LocalWorkersTest, StopAllEndsThemFromOutside) {
  auto workers = LocalWorkers::Start(options_);
  ASSERT_TRUE(workers.ok()) << workers.status();
  ASSERT_TRUE(WaitUntil([&] { return Runs(1) && Runs(2) && Pid(1) > 0 && Pid(2) > 0; }));
  EXPECT_EQ(LocalWorkers::CountRunning(Workers()), 2);
  workers->reset();  // Nobody starts them again.
  LocalWorkers::StopAll(Workers(), absl::Seconds(10));
  EXPECT_EQ(LocalWorkers::CountRunning(Workers()), 0);
}

TEST_F(LocalWorkersTest, AProgramThatIsNotThereIsNamed) {
  options_.program = directory_.Path("nobody");
  const auto workers = LocalWorkers::Start(options_);
  EXPECT_EQ(workers.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(workers.status().message()), HasSubstr("nobody"));
}

}  // namespace
}  // namespace graft
