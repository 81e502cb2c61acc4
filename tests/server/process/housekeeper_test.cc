#include "server/process/housekeeper.h"

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

}  // namespace
}  // namespace graft
