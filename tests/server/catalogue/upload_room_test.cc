#include "server/catalogue/upload_room.h"

#include <memory>

#include "common/base/file.h"
#include "common/errors/status_details.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

DiskSpace disk;

class UploadRoomTest : public ::testing::Test {
 protected:
  UploadRoomTest() {
    SetDiskSpaceForTest([](const std::string&) { return disk; });
  }
  ~UploadRoomTest() override { SetDiskSpaceForTest(nullptr); }

  const TempDir directory_;
  const std::unique_ptr<FileBlobStore> blobs_ = *FileBlobStore::Open(directory_.Path("blobs"));
};

void ExpectDiskFull(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), kReasonDiskFull);
  EXPECT_GT(RetryDelayOf(status), absl::ZeroDuration());
}

TEST_F(UploadRoomTest, AnAnnouncedSizeIsRefusedAtOnceWhenItLeavesLessThanTheReserve) {
  disk = {kDiskReserveBytes + 1000, int64_t{1} << 40};
  UploadRoom room(*blobs_);
  EXPECT_TRUE(room.Begin(1000).ok());
  ExpectDiskFull(room.Begin(1001));
  EXPECT_THAT(std::string(room.Begin(1001).message()),
              HasSubstr("no room for 1001 bytes in " + blobs_->root()));
}

TEST_F(UploadRoomTest, OfASmallDiskATwentiethIsKept) {
  disk = {600, 2000};
  UploadRoom room(*blobs_);
  EXPECT_TRUE(room.Begin(500).ok());
  ExpectDiskFull(room.Begin(501));
}

TEST_F(UploadRoomTest, OneOfUnknownSizeIsRefusedWhileItGrows) {
  disk = {int64_t{1} << 40, int64_t{1} << 41};
  UploadRoom room(*blobs_);
  ASSERT_TRUE(room.Begin(0).ok());
  ASSERT_TRUE(room.Grow(kRoomStepBytes).ok());
  disk.free_bytes = kDiskReserveBytes + kRoomStepBytes - 1;
  EXPECT_TRUE(room.Grow(kRoomStepBytes - 1).ok()) << "the disk is not asked for every message";
  EXPECT_TRUE(room.Grow(1).ok());
  disk.free_bytes = kDiskReserveBytes - 1;
  ExpectDiskFull(room.Grow(kRoomStepBytes));
}

TEST_F(UploadRoomTest, AQuotaIsHeldWhateverTheDiskHas) {
  disk = {int64_t{1} << 40, int64_t{1} << 41};
  blobs_->SetQuota(1000);
  const auto blob = blobs_->Put(std::string(400, 'a'));
  ASSERT_TRUE(blob.ok());
  UploadRoom room(*blobs_);
  EXPECT_TRUE(room.Begin(600).ok());
  ExpectDiskFull(room.Begin(601));
  EXPECT_THAT(std::string(room.Begin(601).message()),
              HasSubstr("400 of the 1000 of --quota-gb are used"));
  ASSERT_TRUE(blobs_->Delete(blob->sha256).ok());
  EXPECT_TRUE(room.Begin(1000).ok());
  disk.free_bytes = 0;
  EXPECT_THAT(std::string(room.Begin(1).message()), HasSubstr("0 are free"));
}

TEST_F(UploadRoomTest, TheSystemsDiskIsAsked) {
  SetDiskSpaceForTest(nullptr);
  UploadRoom room(*blobs_);
  EXPECT_TRUE(room.Begin(1).ok());
  ExpectDiskFull(room.Begin(int64_t{1} << 60));
  ASSERT_TRUE(RemoveTree(blobs_->root()).ok());
  EXPECT_TRUE(UploadRoom(*blobs_).Begin(1).ok()) << "its writer will say";
}

}  // namespace
}  // namespace graft
