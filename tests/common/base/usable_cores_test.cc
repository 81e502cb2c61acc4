#include "common/base/usable_cores.h"

#include <sched.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

class UsableCoresTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& content) {
    ASSERT_TRUE(CreateDirectories(DirectoryOf(root_.Path(path))).ok());
    ASSERT_TRUE(WriteFileAtomically(root_.Path(path), content).ok());
  }
  void WriteSiblings(int cpu, const std::string& siblings) {
    Write(absl::StrCat("sys/devices/system/cpu/cpu", cpu, "/topology/thread_siblings_list"),
          siblings + "\n");
  }
  int Cores(const std::vector<int>& affinity = {0, 1, 2, 3}) {
    return UsableCoresOf(affinity, root_.path());
  }

  const TempDir root_;
};

TEST_F(UsableCoresTest, AMachineThatShowsNothingHasAsManyAsTheAffinity) {
  EXPECT_EQ(Cores(), 4);
  EXPECT_EQ(Cores({2}), 1);
  EXPECT_EQ(Cores({}), 1);
}

TEST_F(UsableCoresTest, SiblingsOfOneCoreCountOnce) {
  for (const int cpu : {0, 2}) WriteSiblings(cpu, "0,2");
  for (const int cpu : {1, 3}) WriteSiblings(cpu, "1,3");
  EXPECT_EQ(Cores(), 2);
  EXPECT_EQ(Cores({0, 1}), 2);
  EXPECT_EQ(Cores({0, 2}), 1);
}

TEST_F(UsableCoresTest, AQuotaBoundsThem) {
  Write("proc/self/cgroup", "0::/app/worker\n");
  Write("sys/fs/cgroup/app/worker/cpu.max", "max 100000\n");
  EXPECT_EQ(Cores(), 4);
  Write("sys/fs/cgroup/app/cpu.max", "250000 100000\n");  // Of the group around it.
  EXPECT_EQ(Cores(), 2);
  Write("sys/fs/cgroup/app/worker/cpu.max", "50000 100000\n");
  EXPECT_EQ(Cores(), 1);
}

TEST_F(UsableCoresTest, AContainersOwnGroupIsTheRoot) {
  Write("proc/self/cgroup", "0::/\n");
  Write("sys/fs/cgroup/cpu.max", "300000 100000\n");
  EXPECT_EQ(Cores(), 3);
}

TEST_F(UsableCoresTest, OldControlGroupsToo) {
  Write("proc/self/cgroup", "5:memory:/x\n4:cpu,cpuacct:/docker/abc\n");
  Write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "-1\n");
  Write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Cores(), 4);
  Write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "200000\n");
  EXPECT_EQ(Cores(), 2);
}

TEST_F(UsableCoresTest, ThisProcessHasSomeAndOneOfOneCpu) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  EXPECT_GE(UsableCores(), 1);
  EXPECT_LE(UsableCores(), CPU_COUNT(&before));
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(UsableCores(), 1);
  sched_setaffinity(0, sizeof(before), &before);
}

}  // namespace
}  // namespace graft
