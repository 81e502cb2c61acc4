#include "server/process/housekeeper.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

class HousekeeperTest : public ::testing::Test {
 protected:
  const TempDir directory_;
  const std::unique_ptr<JobStore> store_ = *OpenJobStore("memory:", {});
  const std::unique_ptr<FileBlobStore> blobs_ = *FileBlobStore::Open(directory_.Path("blobs"));
};

TEST_F(HousekeeperTest, OnlyOldBlobsThatNothingNamesAreDeleted) {
  const BlobInfo named = *blobs_->Put("named");
  const BlobInfo garbage = *blobs_->Put("garbage");
  v1::Dataset dataset;
  dataset.set_name("d");
  dataset.set_sha256(named.sha256);
  dataset.set_size_bytes(named.size_bytes);
  ASSERT_TRUE(store_->InsertDataset(dataset).ok());

  EXPECT_EQ(*CollectGarbage(*store_, *blobs_, absl::Hours(1)), 0) << "both are young";
  EXPECT_EQ(*CollectGarbage(*store_, *blobs_, -absl::Hours(1)), 1);
  EXPECT_TRUE(blobs_->Stat(named.sha256).ok());
  EXPECT_EQ(blobs_->Stat(garbage.sha256).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(HousekeeperTest, ABlobThatIsAboutToBeNamedIsYoungAgain) {
  const BlobInfo uploaded = *blobs_->Put("uploaded again");
  const BlobInfo kept = *blobs_->Put("known to be there");
  const BlobInfo garbage = *blobs_->Put("garbage");
  const timespec old[2] = {{.tv_sec = 1'000'000'000}, {.tv_sec = 1'000'000'000}};
  for (const BlobInfo& blob : {uploaded, kept, garbage}) {
    ASSERT_EQ(utimensat(AT_FDCWD, blobs_->PathOf(blob.sha256)->c_str(), old, 0), 0);
  }
  ASSERT_TRUE(blobs_->Put("uploaded again").ok());
  ASSERT_TRUE(blobs_->Keep(kept.sha256).ok());
  EXPECT_EQ(*CollectGarbage(*store_, *blobs_, absl::Hours(24)), 1);
  EXPECT_TRUE(blobs_->Stat(uploaded.sha256).ok());
  EXPECT_TRUE(blobs_->Stat(kept.sha256).ok());
  EXPECT_EQ(blobs_->Keep(garbage.sha256).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(HousekeeperTest, WhatSomebodyKeptSinceItWasFoundOldStays) {
  const BlobInfo blob = *blobs_->Put("x");
  ASSERT_TRUE(blobs_->IsOlder(blob.sha256, -absl::Hours(1)));
  EXPECT_FALSE(*blobs_->DeleteIfOlder(blob.sha256, absl::Hours(1)));
  EXPECT_TRUE(*blobs_->DeleteIfOlder(blob.sha256, -absl::Hours(1)));
  EXPECT_FALSE(*blobs_->DeleteIfOlder(blob.sha256, -absl::Hours(1)));
}

TEST_F(HousekeeperTest, WhatLostItsLastNameIsDeletedOnceItIsOldEnough) {
  v1::Dataset dataset;
  const BlobInfo gone = *blobs_->Put("gone");
  const BlobInfo shared = *blobs_->Put("shared");
  for (const auto& [name, blob] : {std::pair("a", gone), {"b", shared}, {"c", shared}}) {
    dataset.set_name(name);
    dataset.set_sha256(blob.sha256);
    ASSERT_TRUE(store_->InsertDataset(dataset).ok());
  }
  ASSERT_TRUE(store_->DeleteDataset("a").ok());
  ASSERT_TRUE(store_->DeleteDataset("b").ok());

  EXPECT_EQ(*DeleteReleased(*store_, *blobs_, absl::Hours(1)), 0);
  EXPECT_EQ(store_->ReleasedBlobs()->size(), 1) << "the young one; the shared one has been seen to";
  EXPECT_EQ(*DeleteReleased(*store_, *blobs_, -absl::Hours(1)), 1);
  EXPECT_TRUE(store_->ReleasedBlobs()->empty());
  EXPECT_EQ(blobs_->Stat(gone.sha256).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(blobs_->Stat(shared.sha256).ok());
}

}  // namespace
}  // namespace graft
