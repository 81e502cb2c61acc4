#include "common/base/service_manager.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/fakes/notify_socket.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

class ServiceManagerTest : public ::testing::Test {
 protected:
  ~ServiceManagerTest() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
  }
  static ServiceManager Watching(const std::string& microseconds, const std::string& pid = "") {
    ::setenv("WATCHDOG_USEC", microseconds.c_str(), 1);
    if (!pid.empty()) ::setenv("WATCHDOG_PID", pid.c_str(), 1);
    return ServiceManager::FromEnvironment();
  }

  const TempDir directory_;
};

TEST_F(ServiceManagerTest, BothKindsOfSocketsHearWhatIsSaid) {
  for (const std::string& name :
       {directory_.Path("notify"), absl::StrCat("@graft-test-", ::getpid())}) {
    NotifySocket socket(name);
    const ServiceManager manager = ServiceManager::FromEnvironment();
    manager.Ready("at 127.0.0.1:1");
    manager.Alive();
    manager.Stopping();
    EXPECT_EQ(socket.Next(), "READY=1\nSTATUS=at 127.0.0.1:1") << name;
    EXPECT_EQ(socket.Next(), "WATCHDOG=1");
    EXPECT_EQ(socket.Next(), "STOPPING=1");
  }
}

TEST_F(ServiceManagerTest, NoChildCanSpeakForTheProcess) {
  NotifySocket socket(directory_.Path("notify"));
  EXPECT_EQ(Watching("3000000", absl::StrCat(::getpid())).watchdog(), absl::Seconds(3));
  for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) {
    EXPECT_EQ(std::getenv(name), nullptr) << name;
  }
}

TEST_F(ServiceManagerTest, WithoutAManagerNothingIsSaidAndNobodyWatches) {
  const ServiceManager manager = Watching("3000000");
  EXPECT_EQ(manager.watchdog(), absl::InfiniteDuration());
  manager.Ready("");
  bool proved = false;
  {
    const Watchdog watchdog(
        manager, [&] { proved = true; }, Clock::Real());
  }
  EXPECT_FALSE(proved);
}

TEST_F(ServiceManagerTest, WhatMakesNoSenseIsNoWatchdog) {
  for (const char* time : {"", "0", "-1", "soon", "99999999999999999999"}) {
    NotifySocket socket(absl::StrCat("@graft-test-", ::getpid()));
    EXPECT_EQ(Watching(time).watchdog(), absl::InfiniteDuration()) << time;
  }
  NotifySocket socket(directory_.Path("notify"));
  EXPECT_EQ(Watching("3000000", "1").watchdog(), absl::InfiniteDuration()) << "another's";
  // Neither do these name a socket; and one that nobody reads any more is none.
  for (const std::string& name : {std::string("vsock:2:1234"), std::string(200, '/'),
                                  directory_.Path("gone"), std::string("@")}) {
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
    ServiceManager::FromEnvironment().Ready("");
  }
}

TEST_F(ServiceManagerTest, TheWatchdogIsAnsweredThriceInItsTime) {
  NotifySocket socket(directory_.Path("notify"));
  const ServiceManager manager = Watching("3000000");
  FakeClock clock;
  std::atomic<int> proofs = 0;
  const Watchdog watchdog(
      manager, [&] { ++proofs; }, clock);
  for (int i = 1; i <= 4; ++i) {
    EXPECT_EQ(socket.Next(), "WATCHDOG=1");
    EXPECT_EQ(proofs, i);
    EXPECT_EQ(socket.NextNow(), "") << "not more often";
    clock.Advance(absl::Seconds(1));
  }
}

}  // namespace
}  // namespace graft
