#include "worker/engine/run/machine_memory.h"

#include <gtest/gtest.h>

#include "common/base/file.h"
#include "tests/common/text/test_files.h"

namespace graft {
namespace {

class MachineMemoryTest : public testing::Test {
 protected:
  void Write(const std::string& path, const std::string& content) {
    const std::string whole = JoinPath(root_.path(), path);
    ASSERT_TRUE(CreateDirectories(DirectoryOf(whole)).ok());
    ASSERT_TRUE(WriteFileAtomically(whole, content).ok());
  }
  int64_t Bytes() const { return MachineMemoryBytesOf(root_.path()); }

  const TemporaryFolder root_;
};

TEST_F(MachineMemoryTest, IsTheMachinesWithoutALimit) {
  EXPECT_EQ(Bytes(), 0);
  Write("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n");
  EXPECT_EQ(Bytes(), 16 << 20);
  Write("proc/self/cgroup", "0::/system.slice/graft\n");
  Write("sys/fs/cgroup/system.slice/graft/memory.max", "max\n");
  EXPECT_EQ(Bytes(), 16 << 20);
}

TEST_F(MachineMemoryTest, IsTheLeastLimitOfTheGroupsOfBothVersions) {
  Write("proc/meminfo", "MemTotal:       16384 kB\n");
  Write("proc/self/cgroup", "0::/outer/inner\n");
  Write("sys/fs/cgroup/outer/inner/memory.max", "8000000\n");
  EXPECT_EQ(Bytes(), 8000000);
  Write("sys/fs/cgroup/outer/memory.max", "7000000\n");
  EXPECT_EQ(Bytes(), 7000000);
  Write("proc/self/cgroup", "5:cpu:/\n4:memory:/box\n0::/outer/inner\n");
  Write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "6000000\n");
  EXPECT_EQ(Bytes(), 6000000);
  Write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Bytes(), 7000000);
}

TEST(ThisMachineTest, HasMemory) { EXPECT_GT(MachineMemoryBytes(), 1 << 20); }

}  // namespace
}  // namespace graft
