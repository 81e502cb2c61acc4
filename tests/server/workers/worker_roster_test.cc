#include "server/workers/worker_roster.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr absl::Duration kLease = absl::Seconds(60);

worker::v1::HeartbeatRequest Heartbeat(int64_t total, std::optional<int64_t> acknowledged,
                                       const std::string& instance = "i1",
                                       const std::string& id = "w1") {
  worker::v1::HeartbeatRequest heartbeat;
  heartbeat.mutable_worker()->set_id(id);
  heartbeat.mutable_worker()->set_instance(instance);
  heartbeat.set_engine_restarts_total(total);
  if (acknowledged) heartbeat.set_engine_restarts_acknowledged(*acknowledged);
  return heartbeat;
}

worker::v1::ConnectRequest Hello(const std::string& id = "w1") {
  worker::v1::ConnectRequest hello;
  hello.mutable_worker()->set_id(id);
  hello.mutable_worker()->set_instance("i1");
  hello.set_hostname("host of " + id);
  return hello;
}

class WorkerRosterTest : public ::testing::Test {
 protected:
  // Of w1, at a look with it connected.
  int64_t NewCrashes() { return Only({"w1"}).new_crashes; }
  WorkerRoster::Worker Only(const std::set<std::string>& connected) {
    const WorkerRoster::Look look = roster_->TakeLook(connected);
    EXPECT_THAT(look.workers, SizeIs(1));
    return look.workers.empty() ? WorkerRoster::Worker() : look.workers[0];
  }
  // A server that starts anew knows nothing.
  void NextServer() { roster_.emplace(clock_); }

  FakeClock clock_;
  std::optional<WorkerRoster> roster_{std::in_place, clock_};
};

TEST_F(WorkerRosterTest, AWorkerIsUpWhileItIsConnectedAndHeard) {
  roster_->Connected(Hello(), kLease);
  EXPECT_TRUE(Only({"w1"}).up);
  EXPECT_EQ(Only({"w1"}).hostname, "host of w1");
  clock_.Advance(absl::Seconds(59));
  roster_->Heard(Heartbeat(0, 0), kLease);
  clock_.Advance(absl::Seconds(59));
  EXPECT_TRUE(Only({"w1"}).up);
  // Its connection is over.
  EXPECT_FALSE(Only({}).up);
  // It hangs.
  clock_.Advance(absl::Seconds(1));
  EXPECT_FALSE(Only({"w1"}).up);
  roster_->Heard(Heartbeat(0, 0), kLease);
  EXPECT_TRUE(Only({"w1"}).up);
}

TEST_F(WorkerRosterTest, AWorkerThatIsAwayIsForgottenAfterADay) {
  roster_->Connected(Hello(), kLease);
  roster_->TakeLook({"w1"});
  clock_.Advance(kAwayWorkerLifetime);
  EXPECT_FALSE(Only({}).up);
  clock_.Advance(absl::Seconds(1));
  const WorkerRoster::Look look = roster_->TakeLook({});
  EXPECT_THAT(look.workers, IsEmpty());
  EXPECT_THAT(look.forgotten, ElementsAre("w1"));
  EXPECT_THAT(roster_->TakeLook({}).forgotten, IsEmpty());
}

TEST_F(WorkerRosterTest, NobodyMissesAWorkerThatLeft) {
  roster_->Connected(Hello(), kLease);
  roster_->TakeLook({"w1"});
  worker::v1::HeartbeatRequest last = Heartbeat(0, 0);
  last.set_leaving(true);
  roster_->Heard(last, kLease);
  // Its connection is not over yet.
  EXPECT_THAT(roster_->TakeLook({"w1"}).workers, SizeIs(1));
  EXPECT_THAT(roster_->TakeLook({}).forgotten, ElementsAre("w1"));
  EXPECT_THAT(roster_->TakeLook({}).workers, IsEmpty());
  // It comes back, and is missed when it is killed.
  roster_->Heard(last, kLease);
  roster_->Connected(Hello(), kLease);
  EXPECT_TRUE(Only({"w1"}).up);
  EXPECT_FALSE(Only({}).up);
}

TEST_F(WorkerRosterTest, AThousandAreRememberedThoseThatWereHeardLast) {
  for (size_t i = 0; i < kMaxRememberedWorkers; ++i) {
    roster_->Connected(Hello(absl::StrCat("w", i)), kLease);
    clock_.Advance(absl::Milliseconds(1));
  }
  roster_->TakeLook({});
  roster_->Connected(Hello("w0"), kLease);
  clock_.Advance(absl::Milliseconds(1));
  roster_->Connected(Hello("one-more"), kLease);
  const WorkerRoster::Look look = roster_->TakeLook({});
  EXPECT_THAT(look.workers, SizeIs(kMaxRememberedWorkers));
  EXPECT_THAT(look.forgotten, ElementsAre("w1"));
}

TEST_F(WorkerRosterTest, AnIdThatIsNoneIsNotRemembered) {
  roster_->Heard(Heartbeat(1, 0, "i1", "../x\n"), kLease);
  EXPECT_THAT(roster_->TakeLook({}).workers, IsEmpty());
}

TEST_F(WorkerRosterTest, EachCrashIsToldOnceAndNotAtTheFirstLook) {
  roster_->Heard(Heartbeat(1, 0), kLease);
  EXPECT_EQ(NewCrashes(), 0);
  EXPECT_EQ(NewCrashes(), 1);
  EXPECT_EQ(NewCrashes(), 0);
  roster_->Heard(Heartbeat(3, 1), kLease);
  roster_->Heard(Heartbeat(3, 3), kLease);
  EXPECT_EQ(NewCrashes(), 2);
  // One that was on its way for long.
  roster_->Heard(Heartbeat(2, 1), kLease);
  roster_->Heard(Heartbeat(3, 3), kLease);
  EXPECT_EQ(NewCrashes(), 0);
}

TEST_F(WorkerRosterTest, AnAnswerThatWasLostCountsNothingTwice) {
  roster_->Heard(Heartbeat(1, 0), kLease);
  roster_->Heard(Heartbeat(1, 0), kLease);
  NewCrashes();
  EXPECT_EQ(NewCrashes(), 1);
}

TEST_F(WorkerRosterTest, TheNextServerCountsNoCrashThatWasCounted) {
  roster_->Heard(Heartbeat(2, 0), kLease);
  NewCrashes();
  EXPECT_EQ(NewCrashes(), 2);
  NextServer();
  roster_->Heard(Heartbeat(2, 2), kLease);
  NewCrashes();
  EXPECT_EQ(NewCrashes(), 0);
}

TEST_F(WorkerRosterTest, TheNextServerCountsTheCrashesOfTheOutageOnce) {
  roster_->Heard(Heartbeat(2, 0), kLease);
  NewCrashes();
  EXPECT_EQ(NewCrashes(), 2);
  NextServer();
  roster_->Heard(Heartbeat(5, 2), kLease);
  roster_->Heard(Heartbeat(5, 5), kLease);
  NewCrashes();
  EXPECT_EQ(NewCrashes(), 3);
  EXPECT_EQ(NewCrashes(), 0);
}

TEST_F(WorkerRosterTest, AWorkerThatStartedAnewCountsFromZero) {
  roster_->Heard(Heartbeat(5, 5), kLease);
  NewCrashes();
  roster_->Heard(Heartbeat(7, 0, "i2"), kLease);
  EXPECT_EQ(NewCrashes(), 7);
}

TEST_F(WorkerRosterTest, OldCrashesOfAnOlderWorkerAreNotCounted) {
  roster_->Heard(Heartbeat(5, std::nullopt), kLease);
  NewCrashes();
  EXPECT_EQ(NewCrashes(), 0);
  roster_->Heard(Heartbeat(6, std::nullopt), kLease);
  EXPECT_EQ(NewCrashes(), 1);
}

}  // namespace
}  // namespace graft
