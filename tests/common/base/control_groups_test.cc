#include "common/base/control_groups.h"

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ControlGroupsTest : public ::testing::Test {
 protected:
  void Write(const std::string& groups) {
    ASSERT_TRUE(CreateDirectories(root_.Path("proc/self")).ok());
    ASSERT_TRUE(WriteFileAtomically(root_.Path("proc/self/cgroup"), groups).ok());
  }
  std::vector<std::string> Of(const std::string& controller) {
    return ControlGroups(controller, root_.Path(""));
  }
  std::string At(const std::string& path) { return root_.Path("sys/fs/cgroup") + path; }

  const TempDir root_;
};

TEST_F(ControlGroupsTest, GoUpFromTheInnermost) {
  Write("0::/system.slice/graft\n");
  EXPECT_THAT(Of("cpu"), ElementsAre(At("/system.slice/graft"), At("/system.slice"), At("")));
}

TEST_F(ControlGroupsTest, OfVersion1AreThoseOfTheController) {
  Write("5:cpu,cpuacct:/docker/x\n4:memory:/m\n0::/\n");
  EXPECT_THAT(Of("cpu"), ElementsAre(At("/cpu,cpuacct/docker/x"), At("/cpu,cpuacct/docker"),
                                     At("/cpu,cpuacct"), At("")));
  EXPECT_THAT(Of("memory"), ElementsAre(At("/memory/m"), At("/memory"), At("")));
}

TEST_F(ControlGroupsTest, ThereMayBeNone) { EXPECT_THAT(Of("cpu"), IsEmpty()); }

}  // namespace
}  // namespace graft
