#include "server/operations/garbage.h"

#include "gmock/gmock.h"
#include "tests/server/operations/data_fixture.h"

namespace graft {
namespace {

class GarbageTest : public ::testing::Test {
 protected:
  admin::v1::CollectGarbageReport Look() {
    const auto report = LookForGarbage(server_.store(), server_.blobs(), server_.logs(), {});
    EXPECT_TRUE(report.ok()) << report.status();
    return report.value_or(admin::v1::CollectGarbageReport());
  }
  admin::v1::CollectGarbageReport Collect() {
    const auto report = CollectNow(server_.store(), server_.blobs(), server_.logs(), {});
    EXPECT_TRUE(report.ok()) << report.status();
    return report.value_or(admin::v1::CollectGarbageReport());
  }

  const TempDir directory_;
  DataFixture server_{directory_.Path("data")};
};

TEST_F(GarbageTest, ALookSaysWhatTheCollectionThenDoes) {
  server_.Name("kept", "kept bytes");
  server_.Name("deleted", "deleted");
  ASSERT_TRUE(server_.store().DeleteDataset("deleted").ok());
  ASSERT_TRUE(server_.blobs().Put("an upload").ok());
  ASSERT_TRUE(server_.logs().Append({"gone", 1, v1::JOB_LOG_STREAM_ENGINE}, 0, "words").ok());
  EXPECT_EQ(Look().young_blobs(), 2);
  EXPECT_EQ(Look().first_due_seconds(), 300);
  EXPECT_EQ(Collect().blobs(), 0) << "both are seen for the first time";
  server_.clock().Advance(absl::Minutes(6));
  const auto look = Look();
  EXPECT_EQ(look.blobs(), 1);
  EXPECT_EQ(look.bytes(), 7);
  EXPECT_EQ(look.young_blobs(), 1);
  EXPECT_EQ(look.young_bytes(), 9);
  EXPECT_EQ(look.first_due_seconds(), 24 * 3600 - 360);
  EXPECT_EQ(look.named_blobs(), 1);
  EXPECT_EQ(look.named_bytes(), 10);
  EXPECT_EQ(look.logs(), 0) << "the first collection took them";
  const auto done = Collect();
  EXPECT_EQ(done.blobs(), 1);
  EXPECT_EQ(done.bytes(), 7);
  EXPECT_EQ(done.young_blobs(), 1);
}

TEST_F(GarbageTest, ALookDeletesAndNotesNothing) {
  ASSERT_TRUE(server_.blobs().Put("an upload").ok());
  ASSERT_TRUE(server_.logs().Append({"gone", 1, v1::JOB_LOG_STREAM_ENGINE}, 0, "words").ok());
  EXPECT_EQ(Look().logs(), 1);
  EXPECT_EQ(Look().logs(), 1);
  EXPECT_TRUE(server_.store().UnnamedBlobs()->empty());
  EXPECT_EQ(Collect().logs(), 1);
}

TEST_F(GarbageTest, ABlobThatWasTouchedHasAllOfItsTimeAgain) {
  const BlobInfo upload = *server_.blobs().Put("an upload");
  Collect();
  server_.clock().Advance(absl::Hours(25));
  EXPECT_EQ(Look().blobs(), 1);
  ASSERT_TRUE(server_.blobs().Keep(upload.sha256).ok());
  EXPECT_EQ(Look().blobs(), 0);
  EXPECT_EQ(Look().first_due_seconds(), 24 * 3600);
}

TEST_F(GarbageTest, NothingIsDeletedWhileDeletionsAreHeld) {
  ASSERT_TRUE(server_.blobs().Put("an upload").ok());
  Collect();
  server_.clock().Advance(absl::Hours(25));
  const auto hold = server_.blobs().HoldDeletions();
  EXPECT_TRUE(Look().held());
  EXPECT_EQ(Collect().blobs(), 0);
}

}  // namespace
}  // namespace graft
