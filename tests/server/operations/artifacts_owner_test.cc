#include "server/operations/artifacts_owner.h"

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ArtifactsOwnerTest : public ::testing::Test {
 protected:
  std::string Uri(const std::string& name) { return "sqlite:" + directory_.Path(name); }
  static std::unique_ptr<JobStore> Open(const std::string& uri) { return *OpenJobStore(uri, {}); }
  // A data set of the store whose bytes are in the directory.
  void Name(JobStore& store, const std::string& bytes) {
    v1::Dataset dataset;
    dataset.set_name("d");
    dataset.set_sha256(blobs_->Put(bytes)->sha256);
    ASSERT_TRUE(store.InsertDataset(dataset).ok());
  }
  absl::Status Claim(JobStore& store, const std::string& uri) {
    return ClaimArtifacts(artifacts(), uri, store, *blobs_);
  }
  std::string artifacts() { return directory_.Path("artifacts"); }

  const TempDir directory_;
  const std::unique_ptr<FileBlobStore> blobs_ =
      *FileBlobStore::Open(directory_.Path("artifacts/blobs"));
};

TEST_F(ArtifactsOwnerTest, AnEmptyDirectoryBecomesTheStoresAndStaysIt) {
  const auto store = Open(Uri("a.db"));
  ASSERT_TRUE(Claim(*store, Uri("a.db")).ok());
  EXPECT_EQ(ReadArtifactsOwner(artifacts())->id, store->Id());
  ASSERT_TRUE(blobs_->Put("uploaded, named by nothing").ok());
  EXPECT_TRUE(Claim(*store, Uri("a.db")).ok()) << "an upload that was cut short is no mismatch";
}

TEST_F(ArtifactsOwnerTest, AnotherStoreIsRefusedAndToldWhatToDo) {
  const auto store = Open(Uri("a.db"));
  ASSERT_TRUE(Claim(*store, Uri("a.db")).ok());
  Name(*store, "x");
  const auto other = Open(Uri("b.db"));
  const absl::Status refused = Claim(*other, Uri("b.db"));
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr(store->Id()), HasSubstr(other->Id()),
                    HasSubstr(absl::StrCat("--store ", Uri("a.db"))), HasSubstr("--adopt")));
  EXPECT_EQ(ReadArtifactsOwner(artifacts())->id, store->Id());
  // Even where both name the blob.
  Name(*other, "x");
  EXPECT_FALSE(Claim(*other, Uri("b.db")).ok());
}

TEST_F(ArtifactsOwnerTest, AMemoryStoreRefusesWhatIsNotAMemoryStores) {
  const auto store = Open(Uri("a.db"));
  ASSERT_TRUE(Claim(*store, Uri("a.db")).ok());
  const auto memory = Open("memory:");
  EXPECT_EQ(Claim(*memory, "memory:").code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(RemoveFile(JoinPath(artifacts(), "STORE")).ok());
  ASSERT_TRUE(blobs_->Put("whose?").ok());
  EXPECT_EQ(Claim(*memory, "memory:").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(FileExists(JoinPath(artifacts(), "STORE")));
}

TEST_F(ArtifactsOwnerTest, AMemoryStoreEmptiesWhatAnEarlierOneLeft) {
  const auto earlier = Open("memory:");
  ASSERT_TRUE(Claim(*earlier, "memory:").ok());
  const BlobInfo left = *blobs_->Put("left");
  ASSERT_TRUE(CreateDirectories(JoinPath(artifacts(), "logs/j1")).ok());
  const auto memory = Open("memory:");
  ASSERT_TRUE(Claim(*memory, "memory:").ok());
  EXPECT_EQ(ReadArtifactsOwner(artifacts())->id, memory->Id());
  EXPECT_EQ(blobs_->Stat(left.sha256).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(DirectoryExists(JoinPath(artifacts(), "logs/j1")));
  EXPECT_TRUE(blobs_->Put("new").ok());
  // A store that lasts does not take over what one in memory left: it is not that one's to delete.
  EXPECT_FALSE(Claim(*Open(Uri("a.db")), Uri("a.db")).ok());
}

TEST_F(ArtifactsOwnerTest, ADirectoryOfAnEarlierGraftIsKnownByItsBlobs) {
  const auto empty = Open(Uri("empty.db"));
  const auto store = Open(Uri("a.db"));
  Name(*store, "named");
  ASSERT_TRUE(blobs_->Put("not named").ok());
  const absl::Status refused = Claim(*empty, Uri("empty.db"));
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("names none"));
  EXPECT_TRUE(Claim(*store, Uri("a.db")).ok());
  const BlobCounts counts = *CountBlobs(*store, *blobs_);
  EXPECT_EQ(counts.named, 1);
  EXPECT_EQ(counts.unnamed, 1);
}

TEST_F(ArtifactsOwnerTest, WhatTheStoreNamedUntilItsUpgradeCounts) {
  const auto store = Open(Uri("a.db"));
  Name(*store, "x");
  ASSERT_TRUE(store->DeleteDataset("d").ok());
  EXPECT_TRUE(Claim(*store, Uri("a.db")).ok());
}

TEST_F(ArtifactsOwnerTest, AStoreThatMovedIsTheSame) {
  const auto store = Open(Uri("a.db"));
  ASSERT_TRUE(Claim(*store, Uri("a.db")).ok());
  ASSERT_TRUE(Claim(*store, Uri("moved.db")).ok());
  EXPECT_EQ(ReadArtifactsOwner(artifacts())->uri, Uri("moved.db"));
}

TEST_F(ArtifactsOwnerTest, AFileWithoutAnIdIsNoAnswer) {
  ASSERT_TRUE(WriteFileAtomically(JoinPath(artifacts(), "STORE"), "").ok());
  EXPECT_EQ(Claim(*Open(Uri("a.db")), Uri("a.db")).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace graft
