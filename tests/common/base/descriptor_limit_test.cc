#include "common/base/descriptor_limit.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>

#include "gtest/gtest.h"

namespace graft {
namespace {

// From now on the system refuses to change a limit of this process (not to say what it is), as it
// does where the hard limit is above fs.nr_open.
bool RefuseOtherLimits() {
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_prlimit64, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 2 * sizeof(uint64_t)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),  // No new limit.
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {sizeof(rules) / sizeof(rules[0]), rules};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// Each in a process of its own; 0: all is well.
int Raise() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
  limit.rlim_cur = limit.rlim_max / 2;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 2;
  const DescriptorLimit raised = RaiseDescriptorLimit();
  if (!raised.status.ok() || raised.count != DescriptorCount(limit.rlim_max)) return 3;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur != limit.rlim_max) return 4;
  // Nothing is asked for where there is nothing to raise.
  if (!RefuseOtherLimits()) return 5;
  return RaiseDescriptorLimit().status.ok() ? 0 : 6;
}

int RaiseInVain() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
  limit.rlim_cur = limit.rlim_max / 2;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 2;
  if (!RefuseOtherLimits()) return 3;
  const DescriptorLimit raised = RaiseDescriptorLimit();
  if (raised.status.ok()) return 4;
  return raised.count == DescriptorCount(limit.rlim_cur) ? 0 : 5;
}

TEST(DescriptorLimitDeathTest, TheSoftLimitBecomesTheHardOne) {
  EXPECT_EXIT(std::_Exit(Raise()), testing::ExitedWithCode(0), "");
}

TEST(DescriptorLimitDeathTest, WhereThatIsRefusedItStaysAsItIs) {
  EXPECT_EXIT(std::_Exit(RaiseInVain()), testing::ExitedWithCode(0), "");
}

TEST(DescriptorLimitTest, WithoutALimitThereAreAsManyAsANumberCanSay) {
  EXPECT_EQ(DescriptorCount(1024), 1024);
  EXPECT_EQ(DescriptorCount(RLIM_INFINITY), std::numeric_limits<int>::max());
}

}  // namespace
}  // namespace graft
