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

TEST_F(WorkerHubTest, AWorkerThatMeasuresHearsOfWork) {
  worker::v1::ConnectRequest hello;
  hello.set_slots(1);
  hello.set_measures(true);
  const auto waker = std::make_shared<StreamWaker>([] {});
  hello.mutable_worker()->set_id("w-1");
  const auto first = *hub_.Connect(hello, waker);
  hello.mutable_worker()->set_id("w-2");
  const auto second = *hub_.Connect(hello, waker);
  hub_.Seen("w-2", 1, {.idle = {"base"}});

  EXPECT_EQ(hub_.TakeIdleWorker("base"), "w-2") << "it holds the base model";
  EXPECT_EQ(hub_.TakeIdleWorker("base"), "w-1");
  EXPECT_EQ(hub_.TakeIdleWorker("base"), "") << "both measure";
  hub_.LeaveIdleWorker("w-1");
  hub_.Seen("w-1", 0);  // It has taken a job.
  EXPECT_EQ(hub_.TakeIdleWorker("base"), "");
  hub_.AnnounceWork();
  worker::v1::Command command;
  EXPECT_EQ(*first->Next(&command), SourceState::kWait);
  EXPECT_EQ(*second->Next(&command), SourceState::kMessage);
  EXPECT_TRUE(command.has_work_available());
}

TEST_F(WorkerHubTest, AWorkerThatOnlyServesIsForTexts) {
  const auto waker = std::make_shared<StreamWaker>([] {});
  worker::v1::ConnectRequest hello;
  hello.set_slots(1);
  hello.set_measures(true);
  hello.set_batches_texts(true);
  hello.mutable_worker()->set_id("w-1");
  ASSERT_TRUE(hub_.Connect(hello, waker).ok());
  hello.set_serves_only(true);
  hello.mutable_worker()->set_id("w-2");
  const auto serves = *hub_.Connect(hello, waker);
  hub_.Seen("w-1", 1, {.idle = {"base"}, .busy = {"other"}});
  EXPECT_TRUE(hub_.workers().at(1).serves_only);

  EXPECT_EQ(hub_.TakeIdleWorker("base"), "w-1");
  EXPECT_EQ(hub_.TakeIdleWorker("base"), "");
  hub_.LeaveIdleWorker("w-1");
  hub_.AnnounceWork();
  worker::v1::Command command;
  EXPECT_EQ(*serves->Next(&command), SourceState::kWait);

  EXPECT_EQ(hub_.TakePlaceForText("other").worker, "w-2") << "before a place beside a job";
  EXPECT_TRUE(hub_.TakePlaceForText("other").beside_job);
  EXPECT_EQ(hub_.TakePlaceForText("base").worker, "w-1");
}

TEST_F(WorkerHubTest, TextsThatNeedBatchesFindAWorkerThatTakesThem) {
  const auto waker = std::make_shared<StreamWaker>([] {});
  worker::v1::ConnectRequest hello;
  hello.set_slots(2);
  hello.mutable_worker()->set_id("w-1");
  ASSERT_TRUE(hub_.Connect(hello, waker).ok());
  hub_.Seen("w-1", 2, {.idle = {"base"}, .busy = {"other"}});
  EXPECT_TRUE(hub_.CanMakeTexts(false));
  EXPECT_FALSE(hub_.CanMakeTexts(true));
  for (const char* base : {"base", "other"}) {
    EXPECT_EQ(hub_.TakePlaceForText(base, /*needs_batching=*/true).worker, "") << base;
  }
  EXPECT_FALSE(hub_.TakePlaceForText("base").batches);
  hello.set_batches_texts(true);
  hello.mutable_worker()->set_id("w-2");
  ASSERT_TRUE(hub_.Connect(hello, waker).ok());
  EXPECT_TRUE(hub_.CanMakeTexts(true));
  const WorkerHub::TextPlace place = hub_.TakePlaceForText("base", /*needs_batching=*/true);
  EXPECT_EQ(place.worker, "w-2");
  EXPECT_TRUE(place.batches);
}

}  // namespace
}  // namespace graft
