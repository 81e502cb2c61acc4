#include "server/operations/blob_collection.h"

#include <algorithm>
#include <set>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class BlobCollectionTest : public ::testing::Test {
 protected:
  static std::unique_ptr<JobStore> Open(Clock& clock) {
    StoreOptions options;
    options.clock = &clock;
    return *OpenJobStore("memory:", options);
  }
  void Name(const std::string& name, const BlobInfo& blob) {
    v1::Dataset dataset;
    dataset.set_name(name);
    dataset.set_sha256(blob.sha256);
    dataset.set_size_bytes(blob.size_bytes);
    ASSERT_TRUE(store_->InsertDataset(dataset).ok());
  }
  int64_t Collect() { return *CollectGarbage(*store_, *blobs_, absl::Hours(24)); }
  int64_t Released() { return *DeleteReleased(*store_, *blobs_, absl::Minutes(5)); }
  bool IsThere(const BlobInfo& blob) { return blobs_->Stat(blob.sha256).ok(); }

  const TempDir directory_;
  FakeClock clock_;
  const std::unique_ptr<JobStore> store_ = Open(clock_);
  const std::unique_ptr<FileBlobStore> blobs_ = *FileBlobStore::Open(directory_.Path("blobs"));
};

TEST_F(BlobCollectionTest, OnlyBlobsThatNothingNamedForADayAreDeleted) {
  const BlobInfo named = *blobs_->Put("named");
  const BlobInfo garbage = *blobs_->Put("garbage");
  Name("d", named);
  EXPECT_EQ(Collect(), 0) << "seen for the first time";
  clock_.Advance(absl::Hours(24));
  EXPECT_EQ(Collect(), 0);
  clock_.Advance(absl::Hours(1));
  EXPECT_EQ(Collect(), 1);
  EXPECT_TRUE(IsThere(named));
  EXPECT_FALSE(IsThere(garbage));
  EXPECT_TRUE(store_->UnnamedBlobs()->empty());
}

TEST_F(BlobCollectionTest, ADateThatIsSetForwardDeletesNoUploadInFlight) {
  const BlobInfo uploaded = *blobs_->Put("not named yet");
  EXPECT_EQ(Collect(), 0);
  clock_.MoveWallClock(absl::Hours(24 * 365));
  EXPECT_EQ(Collect(), 0);
  EXPECT_TRUE(IsThere(uploaded));
  // Nor does one that is set back keep garbage.
  clock_.MoveWallClock(-absl::Hours(24 * 700));
  clock_.Advance(absl::Hours(25));
  EXPECT_EQ(Collect(), 1);
}

TEST_F(BlobCollectionTest, ABlobThatIsAboutToBeNamedIsYoungAgain) {
  const BlobInfo uploaded = *blobs_->Put("uploaded again");
  const BlobInfo kept = *blobs_->Put("known to be there");
  const BlobInfo garbage = *blobs_->Put("garbage");
  EXPECT_EQ(Collect(), 0);
  clock_.Advance(absl::Hours(25));
  ASSERT_TRUE(blobs_->Put("uploaded again").ok());
  ASSERT_TRUE(blobs_->Keep(kept.sha256).ok());
  EXPECT_EQ(Collect(), 1);
  EXPECT_TRUE(IsThere(uploaded));
  EXPECT_TRUE(IsThere(kept));
  EXPECT_EQ(blobs_->Keep(garbage.sha256).status().code(), absl::StatusCode::kNotFound);
  clock_.Advance(absl::Hours(25));
  EXPECT_EQ(Collect(), 2);
}

TEST_F(BlobCollectionTest, WhatWasNamedMeanwhileBeginsAnewWhenItIsReleased) {
  const BlobInfo blob = *blobs_->Put("x");
  EXPECT_EQ(Collect(), 0);
  Name("d", blob);
  clock_.Advance(absl::Hours(25));
  EXPECT_EQ(Collect(), 0);
  EXPECT_TRUE(store_->UnnamedBlobs()->empty());
  ASSERT_TRUE(store_->DeleteDataset("d").ok());
  EXPECT_EQ(Collect(), 0);
  EXPECT_TRUE(IsThere(blob));
}

TEST_F(BlobCollectionTest, WhatLostItsLastNameIsDeletedSoon) {
  const BlobInfo gone = *blobs_->Put("gone");
  const BlobInfo shared = *blobs_->Put("shared");
  Name("a", gone);
  Name("b", shared);
  Name("c", shared);
  ASSERT_TRUE(store_->DeleteDataset("a").ok());
  ASSERT_TRUE(store_->DeleteDataset("b").ok());
  EXPECT_EQ(Released(), 0);
  EXPECT_EQ(store_->ReleasedBlobs()->size(), 1) << "the young one; the shared one has been seen to";
  clock_.Advance(absl::Minutes(6));
  EXPECT_EQ(Released(), 1);
  EXPECT_TRUE(store_->ReleasedBlobs()->empty());
  EXPECT_FALSE(IsThere(gone));
  EXPECT_TRUE(IsThere(shared));
}

TEST_F(BlobCollectionTest, WhatVanishedIsForgotten) {
  const BlobInfo blob = *blobs_->Put("x");
  EXPECT_EQ(Collect(), 0);
  EXPECT_EQ(store_->UnnamedBlobs()->size(), 1);
  ASSERT_TRUE(blobs_->Delete(blob.sha256).ok());
  EXPECT_EQ(Collect(), 0);
  EXPECT_TRUE(store_->UnnamedBlobs()->empty());
}

TEST_F(BlobCollectionTest, ABlobThatCannotBeDeletedKeepsNoOther) {
  std::set<std::string> released;
  for (const char* content : {"a", "b", "c", "d"}) {
    const BlobInfo blob = *blobs_->Put(content);
    released.insert(blob.sha256);
    Name(content, blob);
    ASSERT_TRUE(store_->DeleteDataset(content).ok());
  }
  // The first that is seen to.
  const std::string bad = *released.begin();
  const std::string path = *blobs_->PathOf(bad);
  ASSERT_TRUE(RemoveFile(path).ok());
  ASSERT_TRUE(CreateDirectories(path).ok());
  EXPECT_EQ(Released(), 0);
  clock_.Advance(absl::Minutes(6));
  const auto deleted = DeleteReleased(*store_, *blobs_, absl::Minutes(5));
  EXPECT_THAT(std::string(deleted.status().message()), HasSubstr(bad));
  EXPECT_EQ(std::count_if(released.begin(), released.end(),
                          [&](const std::string& blob) {
                            return absl::IsNotFound(blobs_->Stat(blob).status());
                          }),
            3);
  EXPECT_THAT(*store_->ReleasedBlobs(), ElementsAre(bad));
  ASSERT_EQ(store_->UnnamedBlobs()->size(), 1) << "the others are forgotten";
  // Once it can be deleted it is.
  ASSERT_TRUE(RemoveTree(path).ok());
  EXPECT_EQ(Released(), 0);
  EXPECT_TRUE(store_->ReleasedBlobs()->empty());
}

}  // namespace
}  // namespace graft
