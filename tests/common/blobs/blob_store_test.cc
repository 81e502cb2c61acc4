#include "common/blobs/blob_store.h"

#include <functional>

#include "common/base/sha256.h"
#include "common/blobs/file_blob_store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/memory_blob_store.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

// The contract of BlobStore, on each implementation.
class BlobStoreTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) {
      store_ = *FileBlobStore::Open(dir_.Path("blobs"));
    } else {
      store_ = std::make_unique<MemoryBlobStore>();
    }
  }
  std::vector<std::string> Hashes() {
    std::vector<std::string> hashes;
    EXPECT_TRUE(store_
                    ->ForEach([&](const BlobInfo& blob) {
                      hashes.push_back(blob.sha256);
                      return true;
                    })
                    .ok());
    return hashes;
  }

  TempDir dir_;
  std::unique_ptr<BlobStore> store_;
};

INSTANTIATE_TEST_SUITE_P(All, BlobStoreTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "File" : "Memory"; });

TEST_P(BlobStoreTest, StoredBytesAreFoundByTheirHash) {
  const absl::StatusOr<BlobInfo> blob = store_->Put("hello");
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_EQ(blob->sha256, Sha256Hex("hello"));
  EXPECT_EQ(blob->size_bytes, 5);
  EXPECT_EQ(*store_->Get(blob->sha256, 5), "hello");
  EXPECT_EQ(store_->Stat(blob->sha256)->size_bytes, 5);
  EXPECT_TRUE(store_->Verify(blob->sha256).ok());
  EXPECT_EQ(store_->Put("")->sha256, Sha256Hex(""));
  EXPECT_EQ(*store_->Get(Sha256Hex(""), 0), "");
}

TEST_P(BlobStoreTest, PiecesMakeOneBlob) {
  const std::unique_ptr<BlobWriter> writer =
      *store_->NewWriter({.size_bytes = 6, .sha256 = Sha256Hex("abcdef")});
  for (const char* piece : {"ab", "", "cdef"}) ASSERT_TRUE(writer->Append(piece).ok());
  EXPECT_EQ(writer->size_bytes(), 6);
  EXPECT_THAT(Hashes(), UnorderedElementsAre());
  ASSERT_TRUE(writer->Commit().ok());
  EXPECT_THAT(Hashes(), UnorderedElementsAre(Sha256Hex("abcdef")));
  EXPECT_EQ(writer->Commit().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(writer->Append("x").code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(BlobStoreTest, TheSameBytesAgainAreOneBlob) {
  ASSERT_TRUE(store_->Put("x").ok());
  ASSERT_TRUE(store_->Put("x").ok());
  EXPECT_THAT(Hashes(), UnorderedElementsAre(Sha256Hex("x")));
}

TEST_P(BlobStoreTest, OtherBytesThanAnnouncedAreRefused) {
  const auto write = [&](const BlobExpectation& expected, absl::string_view bytes) {
    absl::StatusOr<std::unique_ptr<BlobWriter>> writer = store_->NewWriter(expected);
    if (!writer.ok()) return writer.status();
    const absl::Status status = (*writer)->Append(bytes);
    return status.ok() ? (*writer)->Commit().status() : status;
  };
  EXPECT_EQ(write({.sha256 = Sha256Hex("y")}, "x").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(write({.size_bytes = 2}, "x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(write({.size_bytes = 2}, "xyz").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(write({.size_bytes = -1}, "x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(write({.sha256 = "../../etc/passwd"}, "x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(write({.max_bytes = 2}, "xyz").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(write({.size_bytes = 3, .max_bytes = 2}, "xyz").code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Hashes(), UnorderedElementsAre());
}

TEST_P(BlobStoreTest, WriterWithoutCommitLeavesNothing) {
  { ASSERT_TRUE((*store_->NewWriter({}))->Append("x").ok()); }
  EXPECT_THAT(Hashes(), UnorderedElementsAre());
}

TEST_P(BlobStoreTest, ReadingStartsAnywhere) {
  const std::string hash = store_->Put("0123456789")->sha256;
  const std::unique_ptr<BlobReader> reader = *store_->Open(hash);
  EXPECT_EQ(reader->size_bytes(), 10);
  std::string buffer(4, '_');
  EXPECT_EQ(*reader->ReadAt(3, absl::MakeSpan(buffer)), 4u);
  EXPECT_EQ(buffer, "3456");
  EXPECT_EQ(*reader->ReadAt(8, absl::MakeSpan(buffer)), 2u);
  EXPECT_EQ(*reader->ReadAt(10, absl::MakeSpan(buffer)), 0u);
  EXPECT_EQ(*reader->ReadAt(1000, absl::MakeSpan(buffer)), 0u);
  EXPECT_EQ(reader->ReadAt(-1, absl::MakeSpan(buffer)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->Get(hash, 9).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_P(BlobStoreTest, DeletedBlobIsGoneButStillReadByWhoHasItOpen) {
  const std::string hash = store_->Put("x")->sha256;
  const std::unique_ptr<BlobReader> reader = *store_->Open(hash);
  ASSERT_TRUE(store_->Delete(hash).ok());
  EXPECT_EQ(store_->Open(hash).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Stat(hash).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(store_->Stat(hash).status().message()), HasSubstr(hash));
  std::string buffer(1, '_');
  EXPECT_EQ(*reader->ReadAt(0, absl::MakeSpan(buffer)), 1u);
  EXPECT_TRUE(store_->Delete(hash).ok());
}

TEST_P(BlobStoreTest, OnlyHashesAreNames) {
  for (const std::string& name :
       {std::string(), std::string("abc"), std::string("../../../../etc/passwd"),
        std::string(64, 'A'), std::string(64, '/'), std::string(63, 'a') + std::string(1, '\0')}) {
    EXPECT_EQ(store_->Open(name).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(store_->Stat(name).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(store_->Delete(name).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(store_->Verify(name).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_P(BlobStoreTest, VisitingStopsWhenAsked) {
  for (const char* bytes : {"a", "b", "c"}) ASSERT_TRUE(store_->Put(bytes).ok());
  int visits = 0;
  ASSERT_TRUE(store_->ForEach([&](const BlobInfo&) { return ++visits < 2; }).ok());
  EXPECT_EQ(visits, 2);
}

}  // namespace
}  // namespace graft
