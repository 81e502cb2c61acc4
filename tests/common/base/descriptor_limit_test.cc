#include "common/base/descriptor_limit.h"

#include <sys/resource.h>

#include <cstdlib>

#include "gtest/gtest.h"

namespace graft {
namespace {

// In a process of its own; 0: all is well.
int Raise() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
  limit.rlim_cur = limit.rlim_max / 2;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 2;
  const auto raised = RaiseDescriptorLimit();
  if (!raised.ok() || *raised != static_cast<int64_t>(limit.rlim_max)) return 3;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur != limit.rlim_max) return 4;
  return 0;
}

TEST(DescriptorLimitDeathTest, TheSoftLimitBecomesTheHardOne) {
  EXPECT_EXIT(std::_Exit(Raise()), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace graft
