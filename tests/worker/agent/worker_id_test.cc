#include "worker/agent/worker_id.h"

#include <string>

#include "common/base/file.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

TEST(WorkerIdTest, IsMadeOnceAndKept) {
  const TempDir directory;
  const std::string state = directory.Path(".");
  const auto id = WorkerIdIn(state);
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_TRUE(IsSafeFileName(*id));
  EXPECT_EQ(*WorkerIdIn(state), *id);
  ASSERT_TRUE(WriteFileAtomically(directory.Path("id"), "people-chose-it\n").ok());
  EXPECT_EQ(*WorkerIdIn(state), "people-chose-it");
}

TEST(WorkerIdTest, AFileThatHoldsNoneIsMadeAnew) {
  const TempDir directory;
  const std::string state = directory.Path(".");
  for (const std::string& bad : {std::string(), std::string("\n"), std::string("\0\0\0", 3),
                                 std::string("two words"), std::string(1000, 'x')}) {
    ASSERT_TRUE(WriteFileAtomically(directory.Path("id"), bad).ok());
    const auto id = WorkerIdIn(state);
    ASSERT_TRUE(id.ok()) << id.status();
    EXPECT_TRUE(IsSafeFileName(*id)) << bad;
    EXPECT_EQ(*WorkerIdIn(state), *id) << "kept from here on";
  }
}

}  // namespace
}  // namespace graft
