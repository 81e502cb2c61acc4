#include "common/blobs/hash_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

int g_reads = 0;
const FileSystemCalls kCounting = {[](int fd, void* buffer, size_t count, off_t offset) -> ssize_t {
                                     ++g_reads;
                                     return ::pread(fd, buffer, count, offset);
                                   },
                                   ::write, ::fsync, ::rename};

class HashCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(WriteFileAtomically(path_, "hello").ok());
    Age();
    g_reads = 0;
    SetFileSystemCallsForTest(&kCounting);
  }
  void TearDown() override { SetFileSystemCallsForTest(nullptr); }

  // Waits until files are stamped with another tick than this one's last change: what is as new as
  // the present is not remembered.
  void Age() {
    struct stat file;
    ASSERT_EQ(::stat(path_.c_str(), &file), 0);
    timespec now;
    do {
      ::clock_gettime(CLOCK_REALTIME, &now);
    } while ((now.tv_sec - file.st_ctim.tv_sec) * 1'000'000'000 + now.tv_nsec -
                 file.st_ctim.tv_nsec <
             30'000'000);
  }
  absl::Status Check() { return cache_.CheckFile(path_, Sha256Hex("hello"), "the file"); }

  const TempDir directory_;
  const std::string path_ = directory_.Path("file");
  HashCache cache_;
};

TEST_F(HashCacheTest, AFileIsReadOnce) {
  ASSERT_TRUE(Check().ok());
  const int reads = g_reads;
  EXPECT_GT(reads, 0);
  ASSERT_TRUE(Check().ok());
  EXPECT_EQ(g_reads, reads);
  const absl::Status other = cache_.CheckFile(path_, Sha256Hex("other"), "the file");
  EXPECT_EQ(other.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(other.message()), HasSubstr("the file is corrupt"));
  EXPECT_EQ(g_reads, reads);
}

TEST_F(HashCacheTest, EveryFlippedBitIsNoticed) {
  ASSERT_TRUE(Check().ok());
  const UniqueFd fd = *OpenFile(path_, O_RDWR);
  for (int bit = 0; bit < 40; ++bit) {
    char letter = "hello"[bit / 8];
    const char flipped = static_cast<char>(letter ^ (1 << bit % 8));
    ASSERT_EQ(::pwrite(fd.get(), &flipped, 1, bit / 8), 1);
    EXPECT_EQ(Check().code(), absl::StatusCode::kDataLoss) << bit;
    ASSERT_EQ(::pwrite(fd.get(), &letter, 1, bit / 8), 1);
    EXPECT_TRUE(Check().ok()) << bit;
  }
}

TEST_F(HashCacheTest, WhatLeavesTheBytesAloneIsNoChange) {
  ASSERT_TRUE(Check().ok());
  const int reads = g_reads;
  const std::string other = directory_.Path("link");
  ASSERT_TRUE(cache_
                  .KeepOver(path_,
                            [&] {
                              EXPECT_EQ(::link(path_.c_str(), other.c_str()), 0);
                              return absl::OkStatus();
                            })
                  .ok());
  EXPECT_TRUE(Check().ok());
  EXPECT_EQ(g_reads, reads);
  // By whichever name it is changed.
  const UniqueFd fd = *OpenFile(other, O_RDWR);
  ASSERT_EQ(::pwrite(fd.get(), "J", 1, 0), 1);
  EXPECT_EQ(Check().code(), absl::StatusCode::kDataLoss);
}

TEST_F(HashCacheTest, ARecheckReadsAgainAndCanBeEnded) {
  ASSERT_TRUE(Check().ok());
  const UniqueFd fd = *OpenFile(path_, O_RDONLY);
  const int reads = g_reads;
  int64_t told = 0;
  const auto pace = [&](int64_t bytes) {
    told += bytes;
    return true;
  };
  EXPECT_TRUE(cache_.Recheck(fd.get(), Sha256Hex("hello"), "the file", pace).ok());
  EXPECT_EQ(told, 5);
  EXPECT_GT(g_reads, reads);
  EXPECT_TRUE(absl::IsCancelled(
      cache_.Recheck(fd.get(), Sha256Hex("hello"), "the file", [](int64_t) { return false; })));
}

}  // namespace
}  // namespace graft
