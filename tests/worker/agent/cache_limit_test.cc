#include "worker/agent/cache_limit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

class CacheLimitTest : public testing::Test {
 protected:
  // A file of so many bytes, used at another moment than any other.
  std::string Add(const std::string& name, size_t bytes) {
    const std::string path = cache_.Path(name);
    EXPECT_TRUE(CreateDirectories(DirectoryOf(path)).ok());
    EXPECT_TRUE(WriteFileAtomically(path, std::string(bytes, 'x')).ok());
    Use(path);
    return path;
  }
  // As MarkUsed does, though with a stamp of its own where the file system's ticks are coarse.
  void Use(const std::string& path) {
    const timespec time = {.tv_sec = ++stamp_};
    const timespec both[] = {time, time};
    EXPECT_EQ(utimensat(AT_FDCWD, path.c_str(), both, 0), 0);
  }
  int64_t Trim(CacheLimit& limit, int64_t max_bytes) {
    return limit.Trim(max_bytes, absl::Hours(1)).value();
  }

  const TempDir cache_;
  FakeClock clock_;
  int64_t stamp_ = 1'000'000'000;
};

TEST_F(CacheLimitTest, WhatWasUsedLongestAgoGoesFirstAndNoMoreThanNeeded) {
  const std::string oldest = Add("blobs/aa/1", 100);
  const std::string older = Add("tokens/2.ids", 100);
  const std::string newer = Add("blobs/bb/3", 100);
  CacheLimit limit(cache_.path(), clock_);
  EXPECT_EQ(Trim(limit, 250), 100);
  EXPECT_FALSE(FileExists(oldest));
  EXPECT_TRUE(FileExists(older));
  EXPECT_TRUE(FileExists(newer));
  EXPECT_EQ(Trim(limit, 250), 0);
}

TEST_F(CacheLimitTest, AUsedFileIsTheYoungest) {
  const std::string used = Add("1", 100);
  const std::string unused = Add("2", 100);
  CacheLimit limit(cache_.path(), clock_);
  MarkUsed(used);
  EXPECT_EQ(Trim(limit, 100), 100);
  EXPECT_TRUE(FileExists(used));
  EXPECT_FALSE(FileExists(unused));
}

TEST_F(CacheLimitTest, WhatWasUsedJustNowStaysEvenBeyondTheLimit) {
  CacheLimit limit(cache_.path(), clock_);
  const std::string path = Add("1", 100);
  EXPECT_EQ(Trim(limit, 0), 0);
  clock_.Advance(absl::Minutes(59));
  EXPECT_EQ(Trim(limit, 0), 0);
  clock_.Advance(absl::Minutes(2));
  EXPECT_EQ(Trim(limit, 0), 100);
  EXPECT_FALSE(FileExists(path));
}

TEST_F(CacheLimitTest, ADateThatIsSetMakesNothingOldOrNew) {
  CacheLimit limit(cache_.path(), clock_);
  const std::string first = Add("1", 100);
  EXPECT_EQ(Trim(limit, 1000), 0);
  clock_.Advance(absl::Hours(2));
  const std::string second = Add("2", 100);
  stamp_ -= 100'000;  // The date is set back, and the second is used after that.
  Use(second);
  EXPECT_EQ(Trim(limit, 100), 100);
  EXPECT_FALSE(FileExists(first));
  EXPECT_TRUE(FileExists(second));
}

TEST_F(CacheLimitTest, WhatALinkPointsAtStays) {
  const TempDir elsewhere;
  const std::string target = elsewhere.Path("model");
  ASSERT_TRUE(WriteFileAtomically(target, "weights").ok());
  ASSERT_EQ(symlink(target.c_str(), cache_.Path("link").c_str()), 0);
  CacheLimit limit(cache_.path(), clock_);
  EXPECT_EQ(Trim(limit, 0), 0);
  EXPECT_TRUE(FileExists(target));
}

TEST_F(CacheLimitTest, ACacheThatIsNotThereYetIsEmpty) {
  CacheLimit limit(cache_.Path("none"), clock_);
  EXPECT_EQ(Trim(limit, 0), 0);
}

}  // namespace
}  // namespace graft
