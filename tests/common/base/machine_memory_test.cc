#include "common/base/machine_memory.h"

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

TEST_F(MachineMemoryTest, KillsOfTheKernelAreThoseOfTheOwnGroup) {
  EXPECT_EQ(OomKillCount(root_.path()), 0);
  Write("proc/self/cgroup", "4:memory:/box\n0::/outer/inner\n");
  Write("sys/fs/cgroup/outer/memory.events", "low 1\noom 9\noom_kill 7\n");
  EXPECT_EQ(OomKillCount(root_.path()), 7);
  Write("sys/fs/cgroup/outer/inner/memory.events", "low 0\noom 2\noom_kill 2\noom_group_kill 0\n");
  EXPECT_EQ(OomKillCount(root_.path()), 2);
  Write("sys/fs/cgroup/memory/box/memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
  EXPECT_EQ(OomKillCount(root_.path()), 3);
}

TEST(EngineMemoryBudgetTest, LeavesAGibibyteToTheOthersAndSharesTheRest) {
  constexpr int64_t kGib = int64_t{1} << 30;
  EXPECT_EQ(EngineMemoryBudget(16 * kGib, 1), 15 * kGib);
  EXPECT_EQ(EngineMemoryBudget(16 * kGib, 3), 5 * kGib);
  EXPECT_EQ(EngineMemoryBudget(kGib, 2), kGib / 4);  // Half of a small machine.
  EXPECT_EQ(EngineMemoryBudget(0, 2), 0);
}

TEST(ThisMachineTest, HasMemory) { EXPECT_GT(MachineMemoryBytes(), 1 << 20); }

}  // namespace
}  // namespace graft
