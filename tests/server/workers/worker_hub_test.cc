#include "server/workers/worker_hub.h"

#include <limits>

#include "gtest/gtest.h"

namespace graft {
namespace {

constexpr int kMost = std::numeric_limits<int>::max();

class WorkerHubTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::shared_ptr<WorkerHub::Link>> Connect(int slots) {
    worker::v1::ConnectRequest hello;
    hello.mutable_worker()->set_id("w-1");
    hello.set_slots(slots);
    return hub_.Connect(hello, std::make_shared<StreamWaker>([] {}));
  }

  FakeClock clock_;
  WorkerHub hub_{clock_};
};

// Whoever looks at the queue counts them one by one.
TEST_F(WorkerHubTest, SlotsThatNoWorkerHasAreRefused) {
  for (const int slots : {-1, -kMost, kMaxWorkerSlots + 1, kMost}) {
    const absl::Status status = Connect(slots).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << slots << ": " << status;
    EXPECT_TRUE(hub_.empty());
  }
  EXPECT_TRUE(Connect(kMaxWorkerSlots).ok());
}

TEST_F(WorkerHubTest, NoMoreSlotsAreFreeThanThereAre) {
  const auto link = Connect(2);
  ASSERT_TRUE(link.ok()) << link.status();
  const auto free_after = [&](int free_slots) {
    hub_.Seen("w-1", free_slots);
    return hub_.workers().at(0).free_slots;
  };
  EXPECT_EQ(free_after(1), 1);
  EXPECT_EQ(free_after(kMost), 2);
  EXPECT_EQ(free_after(-kMost), 0);
  EXPECT_EQ(hub_.TakePlaceForText("").worker, "") << "there is no free slot";
}

}  // namespace
}  // namespace graft
