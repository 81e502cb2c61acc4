#include "common/base/process_lock.h"

#include <unistd.h>

#include <memory>

#include "absl/strings/str_cat.h"
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

}  // namespace
}  // namespace graft
