#include "server/catalogue/partial_uploads.h"

#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/errors/status_details.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/catalogue/upload_room.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

DiskSpace partial_disk;

// Uploads of a text, and a running time that the test moves.
class PartialUploadsTest : public ::testing::Test {
 protected:
  PartialUploadsTest() { Restart(); }
  ~PartialUploadsTest() override { SetDiskSpaceForTest(nullptr); }

  // As after a kill: whoever was sending is forgotten, what is on the disk stays.
  void Restart(const PartialLimits& limits = {}) {
    registry_.emplace();
    uploads_ = *PartialUploads::Open(
        *blobs_, [this] { return now_; }, *registry_, limits);
  }
  int64_t Received(const std::string& text) {
    return uploads_->Received(Sha256Hex(text), static_cast<int64_t>(text.size()));
  }
  absl::StatusOr<std::unique_ptr<BlobWriter>> Resume(const std::string& text, int64_t offset) {
    return uploads_->Resume(Sha256Hex(text), static_cast<int64_t>(text.size()), offset);
  }
  // Sends the first bytes and goes.
  void SendSome(const std::string& text, size_t count) {
    const auto writer = *Resume(text, 0);
    ASSERT_TRUE(writer->Append(text.substr(0, count)).ok());
  }
  std::string PathOf(const std::string& text) {
    return dir_.Path(absl::StrCat("blobs/partial/", Sha256Hex(text), "-", text.size()));
  }

  const TempDir dir_;
  absl::Duration now_ = absl::Hours(100);
  const std::unique_ptr<FileBlobStore> blobs_ = *FileBlobStore::Open(dir_.Path("blobs"));
  std::optional<MetricRegistry> registry_;
  std::unique_ptr<PartialUploads> uploads_;
  const std::string text_ = "what a friend of mine sent";
};

TEST_F(PartialUploadsTest, WhatCameIsKeptAndGoneOnWith) {
  EXPECT_EQ(Received(text_), 0);
  SendSome(text_, 6);
  EXPECT_EQ(Received(text_), 6);
  Restart();
  ASSERT_EQ(Received(text_), 6) << "after a restart";
  {
    const auto writer = *Resume(text_, 6);
    ASSERT_TRUE(writer->Append(text_.substr(6)).ok());
    const auto blob = writer->Commit();
    ASSERT_TRUE(blob.ok()) << blob.status();
    EXPECT_EQ(blob->sha256, Sha256Hex(text_));
  }
  EXPECT_EQ(*blobs_->Get(Sha256Hex(text_), 100), text_);
  EXPECT_EQ(uploads_->usage().count, 0);
  EXPECT_THAT(registry_->Text(), HasSubstr("graft_resumed_upload_bytes_total 6"));
}

TEST_F(PartialUploadsTest, OfABlobThatIsThereNothingIsSent) {
  ASSERT_TRUE(blobs_->Put(text_).ok());
  const auto size = static_cast<int64_t>(text_.size());
  ASSERT_EQ(Received(text_), size);
  const auto writer = *Resume(text_, size);
  EXPECT_EQ(writer->Append("x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(writer->Commit()->size_bytes, size);
}

TEST_F(PartialUploadsTest, BytesThatWereSpoiltOnTheDiskAreRefusedAndNothingStays) {
  SendSome(text_, 6);
  {
    const UniqueFd file = *OpenFile(PathOf(text_), O_WRONLY);
    ASSERT_EQ(::pwrite(file.get(), "X", 1, 2), 1);
  }
  {
    const auto writer = *Resume(text_, 6);
    ASSERT_TRUE(writer->Append(text_.substr(6)).ok());
    const absl::Status refused = writer->Commit().status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(refused.message()), HasSubstr("send it from its beginning"));
  }
  EXPECT_EQ(Received(text_), 0);
  EXPECT_FALSE(blobs_->Stat(Sha256Hex(text_)).ok());
}

TEST_F(PartialUploadsTest, OtherBytesThanThoseOfTheHashAreRefused) {
  SendSome(text_, 6);
  {
    const auto writer = *Resume(text_, 6);
    ASSERT_TRUE(writer->Append(std::string(text_.size() - 6, 'x')).ok());
    EXPECT_EQ(writer->Commit().status().code(), absl::StatusCode::kDataLoss);
  }
  EXPECT_FALSE(FileExists(PathOf(text_)));
}

TEST_F(PartialUploadsTest, NobodyGoesOnBehindWhatIsThere) {
  SendSome(text_, 6);
  const absl::Status refused = Resume(text_, 7).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("only 6 bytes"));
  EXPECT_EQ(Received(text_), 6) << "what is there stays";
}

TEST_F(PartialUploadsTest, WhoGoesOnEarlierDropsWhatIsBehind) {
  SendSome(text_, 6);
  {
    const auto writer = *Resume(text_, 2);
    ASSERT_TRUE(writer->Append("a").ok());
  }
  EXPECT_EQ(Received(text_), 3);
}

TEST_F(PartialUploadsTest, TwoWhoSendTheSameFileAreNeverMixed) {
  SendSome(text_, 6);
  const auto first = *Resume(text_, 6);
  EXPECT_EQ(Received(text_), 0) << "another is sending it";
  EXPECT_EQ(Resume(text_, 6).status().code(), absl::StatusCode::kAborted);
  const auto second = *Resume(text_, 0);
  ASSERT_TRUE(second->Append("other bytes").ok());
  ASSERT_TRUE(first->Append(text_.substr(6)).ok());
  EXPECT_TRUE(first->Commit().ok());
  EXPECT_EQ(second->Commit().status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(*blobs_->Get(Sha256Hex(text_), 100), text_);
}

TEST_F(PartialUploadsTest, WhoIsSilentLosesItToWhoAsksForIt) {
  const auto silent = *Resume(text_, 0);
  ASSERT_TRUE(silent->Append(text_.substr(0, 6)).ok());
  now_ += PartialLimits().stalled;
  ASSERT_EQ(Received(text_), 6);
  const auto next = *Resume(text_, 6);
  EXPECT_EQ(silent->Append(text_.substr(6)).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(silent->Commit().status().code(), absl::StatusCode::kAborted);
  ASSERT_TRUE(next->Append(text_.substr(6)).ok());
  EXPECT_TRUE(next->Commit().ok());
}

TEST_F(PartialUploadsTest, ADayOfRunningTimeAfterItsLastByteItGoes) {
  SendSome(text_, 6);
  now_ += absl::Hours(24);
  EXPECT_EQ(*uploads_->Trim(), 0);
  Restart();
  now_ += absl::Seconds(1);
  EXPECT_EQ(*uploads_->Trim(), 1) << "its age outlives a restart";
  EXPECT_EQ(Received(text_), 0);
}

TEST_F(PartialUploadsTest, OneThatAKilledServerWasWritingIsNewWhenItIsFirstSeen) {
  ASSERT_TRUE(WriteFileAtomically(PathOf(text_), text_.substr(0, 6)).ok());
  Restart();
  EXPECT_EQ(*uploads_->Trim(), 0);
  now_ += absl::Hours(24) + absl::Seconds(1);
  EXPECT_EQ(*uploads_->Trim(), 1);
}

TEST_F(PartialUploadsTest, BeyondTheLimitsTheOldestGoFirst) {
  PartialLimits limits;
  limits.max_count = 2;
  limits.max_bytes = 10;
  Restart(limits);
  const std::vector<std::string> texts = {"aaaaaaa", "bbbbbbb", "ccccccc", "ddddddd"};
  for (size_t i = 0; i < 3; ++i, now_ += absl::Seconds(1)) SendSome(texts[i], 2);
  EXPECT_EQ(Received(texts[0]), 0);
  EXPECT_EQ(Received(texts[1]), 2);
  SendSome(texts[3], 6);
  EXPECT_EQ(Received(texts[1]), 0) << "a third";
  EXPECT_EQ(Received(texts[2]), 2);
  now_ += absl::Seconds(1);
  SendSome("eeeeeee", 6);
  EXPECT_EQ(Received(texts[3]), 0) << "12 bytes";
}

TEST_F(PartialUploadsTest, TheyMakeWayForAnUploadThatTheyCanMakeRoomFor) {
  SendSome(text_, 6);
  now_ += absl::Seconds(1);
  SendSome("another one", 4);
  EXPECT_FALSE(uploads_->MakeWay(11));
  EXPECT_EQ(uploads_->usage().count, 2) << "for nothing nothing goes";
  EXPECT_TRUE(uploads_->MakeWay(5));
  EXPECT_EQ(Received(text_), 0);
  EXPECT_EQ(Received("another one"), 4);
}

TEST_F(PartialUploadsTest, TheyLeaveTheDiskItsReserve) {
  SendSome(text_, 6);
  partial_disk = {kDiskReserveBytes, int64_t{1} << 40};
  SetDiskSpaceForTest([](const std::string&) { return partial_disk; });
  EXPECT_EQ(*uploads_->Trim(), 0);
  partial_disk.free_bytes -= 1;
  EXPECT_EQ(*uploads_->Trim(), 1);
}

TEST_F(PartialUploadsTest, MoreBytesThanAnnouncedAreRefusedAndNothingStays) {
  {
    const auto writer = *Resume(text_, 0);
    EXPECT_EQ(writer->Append(text_ + "x").code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(FileExists(PathOf(text_)));
}

}  // namespace
}  // namespace graft
