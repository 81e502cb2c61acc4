#include "server/catalogue/upload_room.h"

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
};

void ExpectDiskFull(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), kReasonDiskFull);
  EXPECT_GT(RetryDelayOf(status), absl::ZeroDuration());
}

TEST_F(UploadRoomTest, AnAnnouncedSizeIsRefusedAtOnceWhenItLeavesLessThanTheReserve) {
  disk = {kDiskReserveBytes + 1000, int64_t{1} << 40};
  UploadRoom room("/data");
  EXPECT_TRUE(room.Begin(1000).ok());
  ExpectDiskFull(room.Begin(1001));
  EXPECT_THAT(std::string(room.Begin(1001).message()),
              HasSubstr("no room for 1001 bytes in /data"));
}

TEST_F(UploadRoomTest, OfASmallDiskATwentiethIsKept) {
  disk = {600, 2000};
  UploadRoom room("/data");
  EXPECT_TRUE(room.Begin(500).ok());
  ExpectDiskFull(room.Begin(501));
}

TEST_F(UploadRoomTest, OneOfUnknownSizeIsRefusedWhileItGrows) {
  disk = {int64_t{1} << 40, int64_t{1} << 41};
  UploadRoom room("/data");
  ASSERT_TRUE(room.Begin(0).ok());
  ASSERT_TRUE(room.Grow(kRoomStepBytes).ok());
  disk.free_bytes = kDiskReserveBytes + kRoomStepBytes - 1;
  EXPECT_TRUE(room.Grow(kRoomStepBytes - 1).ok()) << "the disk is not asked for every message";
  EXPECT_TRUE(room.Grow(1).ok());
  disk.free_bytes = kDiskReserveBytes - 1;
  ExpectDiskFull(room.Grow(kRoomStepBytes));
}

TEST(DiskSpaceTest, TheSystemsDiskIsAsked) {
  const TempDir directory;
  UploadRoom room(directory.Path("."));
  EXPECT_TRUE(room.Begin(1).ok());
  ExpectDiskFull(room.Begin(int64_t{1} << 60));
  EXPECT_TRUE(UploadRoom(directory.Path("none")).Begin(1).ok()) << "its writer will say";
}

}  // namespace
}  // namespace graft
