#include "server/process/housekeeper.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

TEST(HousekeeperTest, OnlyOldBlobsThatNothingNamesAreDeleted) {
  const TempDir directory;
  const auto store = *OpenJobStore("memory:", {});
  const auto blobs = *FileBlobStore::Open(directory.Path("blobs"));
  const BlobInfo named = *blobs->Put("named");
  const BlobInfo garbage = *blobs->Put("garbage");
  v1::Dataset dataset;
  dataset.set_name("d");
  dataset.set_sha256(named.sha256);
  dataset.set_size_bytes(named.size_bytes);
  ASSERT_TRUE(store->InsertDataset(dataset).ok());

  EXPECT_EQ(*CollectGarbage(*store, *blobs, absl::Hours(1)), 0) << "both are young";
  EXPECT_EQ(*CollectGarbage(*store, *blobs, -absl::Hours(1)), 1);
  EXPECT_TRUE(blobs->Stat(named.sha256).ok());
  EXPECT_EQ(blobs->Stat(garbage.sha256).status().code(), absl::StatusCode::kNotFound);
}

TEST(HousekeeperTest, ABlobThatIsAboutToBeNamedIsYoungAgain) {
  const TempDir directory;
  const auto store = *OpenJobStore("memory:", {});
  const auto blobs = *FileBlobStore::Open(directory.Path("blobs"));
  const BlobInfo uploaded = *blobs->Put("uploaded again");
  const BlobInfo kept = *blobs->Put("known to be there");
  const BlobInfo garbage = *blobs->Put("garbage");
  const timespec old[2] = {{.tv_sec = 1'000'000'000}, {.tv_sec = 1'000'000'000}};
  for (const BlobInfo& blob : {uploaded, kept, garbage}) {
    ASSERT_EQ(utimensat(AT_FDCWD, blobs->PathOf(blob.sha256)->c_str(), old, 0), 0);
  }
  ASSERT_TRUE(blobs->Put("uploaded again").ok());
  ASSERT_TRUE(blobs->Keep(kept.sha256).ok());
  EXPECT_EQ(*CollectGarbage(*store, *blobs, absl::Hours(24)), 1);
  EXPECT_TRUE(blobs->Stat(uploaded.sha256).ok());
  EXPECT_TRUE(blobs->Stat(kept.sha256).ok());
  EXPECT_EQ(blobs->Keep(garbage.sha256).status().code(), absl::StatusCode::kNotFound);
}

TEST(HousekeeperTest, WhatSomebodyKeptSinceItWasFoundOldStays) {
  const TempDir directory;
  const auto blobs = *FileBlobStore::Open(directory.Path("blobs"));
  const BlobInfo blob = *blobs->Put("x");
  ASSERT_TRUE(blobs->IsOlder(blob.sha256, -absl::Hours(1)));
  EXPECT_FALSE(*blobs->DeleteIfOlder(blob.sha256, absl::Hours(1)));
  EXPECT_TRUE(*blobs->DeleteIfOlder(blob.sha256, -absl::Hours(1)));
  EXPECT_FALSE(*blobs->DeleteIfOlder(blob.sha256, -absl::Hours(1)));
}

}  // namespace
}  // namespace graft
