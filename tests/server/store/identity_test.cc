// What a store is, and the time that ages count on.

#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

class IdentityTest : public StoreTest {};
INSTANTIATE_ON_EVERY_STORE(IdentityTest);

TEST_P(IdentityTest, EachStoreHasAnIdOfItsOwn) {
  const StoreFixture other(GetParam(), FastDirectory());
  EXPECT_NE(const_cast<StoreFixture&>(other).store().Id(), store().Id());
  if (GetParam() == StoreKind::kMemory) {
    EXPECT_THAT(store().Id(), StartsWith(kMemoryStorePrefix));
  } else {
    EXPECT_THAT(store().Id(), SizeIs(32));
  }
}

TEST_P(IdentityTest, RunningTimeIsNoWallTime) {
  const absl::Duration begin = store().RunningTime();
  fixture_.clock().MoveWallClock(absl::Hours(24 * 365));
  EXPECT_EQ(store().RunningTime(), begin);
  fixture_.clock().Advance(absl::Minutes(3));
  EXPECT_EQ(store().RunningTime(), begin + absl::Minutes(3));
}

TEST_P(IdentityTest, ADateSetForwardForgetsNoAnswer) {
  NewJob job = StoreFixture::LoraJob();
  job.request = {"request-1", "body-1"};
  ASSERT_OK(store().InsertJob(job));
  fixture_.clock().MoveWallClock(absl::Hours(48));
  EXPECT_EQ(*store().PruneRequestIds(), 0);
  fixture_.clock().Advance(absl::Hours(25));
  fixture_.clock().MoveWallClock(-absl::Hours(1000));
  EXPECT_EQ(*store().PruneRequestIds(), 1);
}

TEST_P(IdentityTest, UnnamedBlobsAgeByRunningTime) {
  const std::string hash(64, '5');
  ASSERT_OK(store().NoteUnnamedBlobs({{hash, 7, absl::ZeroDuration()}}));
  fixture_.clock().Advance(absl::Hours(5));
  auto blobs = *store().UnnamedBlobs();
  ASSERT_THAT(blobs, SizeIs(1));
  EXPECT_EQ(blobs[0].sha256, hash);
  EXPECT_EQ(blobs[0].stamp, 7);
  EXPECT_EQ(blobs[0].age, absl::Hours(5));
  ASSERT_OK(store().NoteUnnamedBlobs({{hash, 8, absl::ZeroDuration()}}));
  blobs = *store().UnnamedBlobs();
  ASSERT_THAT(blobs, SizeIs(1));
  EXPECT_EQ(blobs[0].stamp, 8);
  EXPECT_EQ(blobs[0].age, absl::ZeroDuration());
  ASSERT_OK(store().ForgetUnnamedBlobs({hash}));
  EXPECT_THAT(*store().UnnamedBlobs(), IsEmpty());
}

TEST(SqliteIdentityTest, IdAndRunningTimeOutliveTheServer) {
  StoreFixture fixture(StoreKind::kSqlite, FastDirectory());
  const std::string id = fixture.store().Id();
  fixture.clock().Advance(absl::Hours(2));
  ASSERT_OK(fixture.store().SaveRunningTime());
  ASSERT_OK(fixture.store().NoteUnnamedBlobs({{std::string(64, '5'), 7, absl::ZeroDuration()}}));
  fixture.clock().Advance(absl::Minutes(1));  // Not saved: lost with the server.
  fixture.Reopen();
  EXPECT_EQ(fixture.store().Id(), id);
  EXPECT_THAT(id, Not(StartsWith(kMemoryStorePrefix)));
  EXPECT_EQ(fixture.store().RunningTime(), absl::Hours(2));
  fixture.clock().Advance(absl::Hours(1));
  EXPECT_EQ((*fixture.store().UnnamedBlobs())[0].age, absl::Hours(1));
}

}  // namespace
}  // namespace graft
