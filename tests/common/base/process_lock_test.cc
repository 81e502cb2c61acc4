#include "common/base/process_lock.h"

#include <unistd.h>

#include <cerrno>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

TEST(ProcessLockTest, OneOwnerAtATimeAndTheNextIsToldWho) {
  const TempDir directory;
  const std::string path = directory.Path("server.lock");
  EXPECT_EQ(ProcessLock::OwnerOf(path), 0);
  auto lock =
      std::make_unique<ProcessLock>(*ProcessLock::Acquire(path, "the data", "graft-server"));
  EXPECT_EQ(ProcessLock::OwnerOf(path), ::getpid());
  const auto second = ProcessLock::Acquire(path, "the data", "graft-server");
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      std::string(second.status().message()),
      HasSubstr(absl::StrCat("the data is in use by another graft-server (process ", ::getpid())));
  lock.reset();
  EXPECT_EQ(ProcessLock::OwnerOf(path), 0) << "whatever the file still says";
  EXPECT_TRUE(ProcessLock::Acquire(path, "the data", "graft-server").ok());
}

TEST(ProcessLockTest, AFullDiskCostsTheOwnersNameAndNotTheLock) {
  static constexpr FileSystemCalls kFull = {::pread,
                                            [](int, const void*, size_t) -> ssize_t {
                                              errno = ENOSPC;
                                              return -1;
                                            },
                                            ::fsync, ::rename};
  const TempDir directory;
  const std::string path = directory.Path("server.lock");
  SetFileSystemCallsForTest(&kFull);
  const auto lock = ProcessLock::Acquire(path, "the data", "graft-server");
  SetFileSystemCallsForTest(nullptr);
  EXPECT_TRUE(lock.ok()) << lock.status();
  EXPECT_TRUE(IsLocked(path));
  EXPECT_EQ(ProcessLock::OwnerOf(path), 0) << "nobody knows who";
  EXPECT_EQ(ProcessLock::Acquire(path, "the data", "graft-server").status().message(),
            "the data is in use by another graft-server");
}

}  // namespace
}  // namespace graft
