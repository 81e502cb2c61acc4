#include "worker/agent/cache_limit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

class CacheLimitTest : public testing::Test {
 protected:
  // A file of so many bytes that was used so long ago.
  std::string Add(const std::string& name, size_t bytes, absl::Duration ago) {
    const std::string path = cache_.Path(name);
    EXPECT_TRUE(CreateDirectories(DirectoryOf(path)).ok());
    EXPECT_TRUE(WriteFileAtomically(path, std::string(bytes, 'x')).ok());
    const timespec time = absl::ToTimespec(absl::Now() - ago);
    const timespec both[] = {time, time};
    EXPECT_EQ(utimensat(AT_FDCWD, path.c_str(), both, 0), 0);
    return path;
  }

  TempDir cache_;
};

TEST_F(CacheLimitTest, WhatWasUsedLongestAgoGoesFirstAndNoMoreThanNeeded) {
  const std::string oldest = Add("blobs/aa/1", 100, absl::Hours(9));
  const std::string older = Add("tokens/2.ids", 100, absl::Hours(8));
  const std::string newer = Add("blobs/bb/3", 100, absl::Hours(7));
  EXPECT_EQ(TrimCache(cache_.path(), 250, absl::Hours(1)).value(), 100);
  EXPECT_FALSE(FileExists(oldest));
  EXPECT_TRUE(FileExists(older));
  EXPECT_TRUE(FileExists(newer));
  EXPECT_EQ(TrimCache(cache_.path(), 250, absl::Hours(1)).value(), 0);
}

TEST_F(CacheLimitTest, AUsedFileIsTheYoungest) {
  const std::string used = Add("1", 100, absl::Hours(9));
  const std::string unused = Add("2", 100, absl::Hours(8));
  MarkUsed(used);
  EXPECT_EQ(TrimCache(cache_.path(), 100, absl::Hours(1)).value(), 100);
  EXPECT_TRUE(FileExists(used));
  EXPECT_FALSE(FileExists(unused));
}

TEST_F(CacheLimitTest, WhatWasUsedJustNowStaysEvenBeyondTheLimit) {
  const std::string path = Add("1", 100, absl::Minutes(30));
  EXPECT_EQ(TrimCache(cache_.path(), 0, absl::Hours(1)).value(), 0);
  EXPECT_TRUE(FileExists(path));
}

TEST_F(CacheLimitTest, WhatALinkPointsAtStays) {
  const TempDir elsewhere;
  const std::string target = elsewhere.Path("model");
  ASSERT_TRUE(WriteFileAtomically(target, "weights").ok());
  ASSERT_EQ(symlink(target.c_str(), cache_.Path("link").c_str()), 0);
  EXPECT_EQ(TrimCache(cache_.path(), 0, absl::ZeroDuration()).value(), 0);
  EXPECT_TRUE(FileExists(target));
}

TEST_F(CacheLimitTest, ACacheThatIsNotThereYetIsEmpty) {
  EXPECT_EQ(TrimCache(cache_.Path("none"), 0, absl::ZeroDuration()).value(), 0);
}

}  // namespace
}  // namespace graft
