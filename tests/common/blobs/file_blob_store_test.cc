#include "common/blobs/file_blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/errors/status_details.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The calls of a write, and the one of them that fails.
int g_calls = 0;
int g_failing_call = 0;
int g_error = 0;

bool FailsNow() {
  if (++g_calls != g_failing_call) return false;
  errno = g_error;
  return true;
}

const FileSystemCalls kFailing = {
    [](int fd, void* buffer, size_t count, off_t offset) -> ssize_t {
      return FailsNow() ? -1 : ::pread(fd, buffer, count, offset);
    },
    [](int fd, const void* bytes, size_t count) -> ssize_t {
      return FailsNow() ? -1 : ::write(fd, bytes, count);
    },
    ::fsync,
    [](const char* from, const char* to) { return FailsNow() ? -1 : ::rename(from, to); },
};

class FileBlobStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    g_failing_call = 0;
    store_ = *FileBlobStore::Open(dir_.Path("blobs"));
  }
  void TearDown() override {
    SetFileSystemCallsForTest(nullptr);
    SetFailedSyncHandlerForTest(nullptr);
  }
  std::vector<std::string> Incoming() { return *ListDirectory(dir_.Path("blobs/incoming")); }

  TempDir dir_;
  std::unique_ptr<FileBlobStore> store_;
};

TEST_F(FileBlobStoreTest, BlobsOutliveTheProcess) {
  ASSERT_TRUE(store_->Put("hello").ok());
  store_ = *FileBlobStore::Open(dir_.Path("blobs"));
  EXPECT_EQ(*store_->Get(Sha256Hex("hello"), 100), "hello");
  struct stat info;
  ASSERT_EQ(::stat(store_->PathOf(Sha256Hex("hello"))->c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0444);
}

TEST_F(FileBlobStoreTest, HalfWrittenBlobsOfAKilledProcessAreRemoved) {
  ASSERT_TRUE(WriteFileAtomically(dir_.Path("blobs/incoming/1-1"), "half").ok());
  store_ = *FileBlobStore::Open(dir_.Path("blobs"));
  EXPECT_THAT(Incoming(), IsEmpty());
}

TEST_F(FileBlobStoreTest, AnyFailingCallLeavesNothingAndIsRecoveredFrom) {
  for (const auto& [error, code] : {std::pair(ENOSPC, absl::StatusCode::kResourceExhausted),
                                    std::pair(EIO, absl::StatusCode::kDataLoss)}) {
    int failures = 0;
    for (int call = 1;; ++call) {
      g_calls = 0;
      g_failing_call = call;
      g_error = error;
      SetFileSystemCallsForTest(&kFailing);
      const absl::StatusOr<BlobInfo> blob = store_->Put("hello");
      SetFileSystemCallsForTest(nullptr);
      EXPECT_THAT(Incoming(), IsEmpty());
      if (blob.ok()) break;
      ++failures;
      EXPECT_EQ(blob.status().code(), code);
      EXPECT_EQ(ReasonOf(blob.status()), error == ENOSPC ? kReasonDiskFull : "");
      EXPECT_EQ(store_->Stat(Sha256Hex("hello")).status().code(), absl::StatusCode::kNotFound);
    }
    EXPECT_EQ(failures, 2);  // the write and the rename
    EXPECT_TRUE(store_->Verify(Sha256Hex("hello")).ok());
    ASSERT_TRUE(store_->Delete(Sha256Hex("hello")).ok());
  }
}

TEST_F(FileBlobStoreTest, FailedSyncEndsTheProcess) {
  FileSystemCalls calls = kFailing;
  calls.fsync = [](int) {
    errno = EIO;
    return -1;
  };
  EXPECT_EXIT(
      {
        SetFileSystemCallsForTest(&calls);
        (void)store_->Put("x");
      },
      ::testing::ExitedWithCode(kFailedSyncExitCode), "cannot sync");
  EXPECT_EQ(store_->Stat(Sha256Hex("x")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FileBlobStoreTest, ReadErrorIsDataLoss) {
  ASSERT_TRUE(store_->Put("hello").ok());
  g_calls = 0;
  g_failing_call = 1;
  g_error = EIO;
  SetFileSystemCallsForTest(&kFailing);
  EXPECT_EQ(store_->Get(Sha256Hex("hello"), 100).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(store_->Get(Sha256Hex("hello"), 100).ok());
}

TEST_F(FileBlobStoreTest, ChangedBytesAreNoticed) {
  ASSERT_TRUE(store_->Put("hello").ok());
  const std::string path = *store_->PathOf(Sha256Hex("hello"));
  ASSERT_TRUE(WriteFileAtomically(path, "hellO").ok());
  EXPECT_EQ(store_->Verify(Sha256Hex("hello")).code(), absl::StatusCode::kDataLoss);
  // A blob of the wrong size is not taken for the right one either.
  ASSERT_TRUE(WriteFileAtomically(path, "hell").ok());
  ASSERT_TRUE(store_->Put("hello").ok());
  EXPECT_TRUE(store_->Verify(Sha256Hex("hello")).ok());
}

TEST_F(FileBlobStoreTest, EveryBlobIsSyncedBeforeItHasItsName) {
  static std::string order;
  order.clear();
  ASSERT_TRUE(CreateDirectories(dir_.Path("blobs/objects/" + Sha256Hex("x").substr(0, 2))).ok());
  FileSystemCalls calls = kFailing;
  g_failing_call = 0;
  calls.fsync = [](int fd) {
    struct stat info;
    ::fstat(fd, &info);
    order += S_ISDIR(info.st_mode) ? "D" : "F";
    return ::fsync(fd);
  };
  calls.rename = [](const char* from, const char* to) {
    order += "R";
    return ::rename(from, to);
  };
  SetFileSystemCallsForTest(&calls);
  ASSERT_TRUE(store_->Put("x").ok());
  EXPECT_THAT(order, HasSubstr("FRD"));
}

// One bit of the stored file, whatever its mode.
void FlipBit(const std::string& path, int64_t bit) {
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  const UniqueFd fd = *OpenFile(path, O_RDWR);
  char byte = 0;
  ASSERT_EQ(::pread(fd.get(), &byte, 1, bit / 8), 1);
  byte = static_cast<char>(byte ^ (1 << bit % 8));
  ASSERT_EQ(::pwrite(fd.get(), &byte, 1, bit / 8), 1);
}

TEST_F(FileBlobStoreTest, AFlippedBitIsNeverGivenAway) {
  const BlobInfo blob = *store_->Put("hello");
  const std::string path = *store_->PathOf(blob.sha256);
  for (int bit = 0; bit < 40; ++bit) {
    FlipBit(path, bit);
    const absl::Status opened = store_->Open(absl::string_view(blob.sha256)).status();
    EXPECT_EQ(opened.code(), absl::StatusCode::kDataLoss) << bit;
    EXPECT_THAT(std::string(opened.message()), HasSubstr(blob.sha256));
    EXPECT_EQ(store_->PathOf(blob.sha256).status().code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(store_->Link(blob.sha256, dir_.Path("view")).code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(store_->Verify(blob.sha256).code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(store_->Corrupt(), ElementsAre(blob.sha256));
    FlipBit(path, bit);
    EXPECT_TRUE(store_->Open(absl::string_view(blob.sha256)).ok()) << bit;
    EXPECT_THAT(store_->Corrupt(), IsEmpty());
  }
  EXPECT_FALSE(FileExists(dir_.Path("view")));
}

TEST_F(FileBlobStoreTest, AnotherUploadMendsACorruptBlob) {
  const BlobInfo blob = *store_->Put("hello");
  FlipBit(*store_->PathOf(blob.sha256), 3);
  ASSERT_FALSE(store_->Verify(blob.sha256).ok());
  ASSERT_TRUE(store_->Put("hello").ok());
  EXPECT_EQ(*store_->Get(blob.sha256, 100), "hello");
  EXPECT_EQ(store_->repairs(), 1);
  EXPECT_THAT(store_->Corrupt(), IsEmpty());
  ASSERT_TRUE(store_->Put("hello").ok());
  EXPECT_EQ(store_->repairs(), 1);
}

TEST_F(FileBlobStoreTest, AScrubReadsWhatNobodyAsksFor) {
  const BlobInfo blob = *store_->Put("hello");
  const auto all = [](int64_t) { return true; };
  EXPECT_TRUE(store_->Scrub(blob.sha256, all).ok());
  FlipBit(*store_->PathOf(blob.sha256), 0);
  EXPECT_TRUE(absl::IsDataLoss(store_->Scrub(blob.sha256, all)));
  EXPECT_THAT(store_->Corrupt(), ElementsAre(blob.sha256));
  ASSERT_TRUE(store_->Delete(blob.sha256).ok());
  EXPECT_THAT(store_->Corrupt(), IsEmpty());
  EXPECT_TRUE(absl::IsNotFound(store_->Scrub(blob.sha256, all)));
}

TEST_F(FileBlobStoreTest, WhatIsGoneOrReplacedWhileItIsReadIsNotRememberedAsCorrupt) {
  const BlobInfo blob = *store_->Put("hello");
  FlipBit(*store_->PathOf(blob.sha256), 0);
  const auto replace = [&](int64_t) { return store_->Put("hello").ok(); };
  EXPECT_TRUE(absl::IsDataLoss(store_->Scrub(blob.sha256, replace))) << "what was read is";
  EXPECT_THAT(store_->Corrupt(), IsEmpty());
  EXPECT_TRUE(store_->Verify(blob.sha256).ok());
  FlipBit(*store_->PathOf(blob.sha256), 0);
  const auto remove = [&](int64_t) { return store_->Delete(blob.sha256).ok(); };
  EXPECT_TRUE(absl::IsDataLoss(store_->Scrub(blob.sha256, remove)));
  EXPECT_THAT(store_->Corrupt(), IsEmpty());
}

}  // namespace
}  // namespace graft
