#include "worker/agent/device_choice.h"

#include <sys/stat.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

class DeviceChoiceTest : public ::testing::Test {
 protected:
  DeviceChoiceTest() {
    setenv("TMPDIR", directory_.path().c_str(), 1);
    unsetenv("CUDA_VISIBLE_DEVICES");
  }
  ~DeviceChoiceTest() override { unsetenv("TMPDIR"); }

  // An engine that sees these devices.
  std::string Engine(const std::string& devices) {
    const std::string path = directory_.Path("engine");
    EXPECT_TRUE(WriteFileAtomically(path, absl::StrCat("#!/bin/sh\necho '{\"devices\": ", devices,
                                                       ", \"cuda\": true}'\n"))
                    .ok());
    EXPECT_EQ(chmod(path.c_str(), 0755), 0);
    return path;
  }

  const TempDir directory_;
};

TEST_F(DeviceChoiceTest, AutoIsTheFirstGpuThatNobodyHas) {
  const std::string engine = Engine(R"(["cpu", "cuda:0 NVIDIA H200", "cuda:1 NVIDIA H100"])");
  const DeviceChoice first = ChooseDevice(engine, "auto");
  EXPECT_EQ(first.name, "cuda:0");
  EXPECT_EQ(first.described, "cuda:0 NVIDIA H200");
  const DeviceChoice second = ChooseDevice(engine, "auto");
  EXPECT_EQ(second.name, "cuda:1");
  const DeviceChoice third = ChooseDevice(engine, "auto");
  EXPECT_EQ(third.name, "cpu");
}

TEST_F(DeviceChoiceTest, AutoIsTheCpuWhereThereIsNoGpu) {
  EXPECT_EQ(ChooseDevice(Engine(R"(["cpu"])"), "auto").name, "cpu");
  EXPECT_EQ(ChooseDevice("/bin/false", "auto").name, "cpu");
}

TEST_F(DeviceChoiceTest, WhoNamesAGpuGetsItAndOthersPassItOver) {
  const std::string engine = Engine(R"(["cpu", "cuda:0 A", "cuda:1 B"])");
  const DeviceChoice named = ChooseDevice("/bin/false", "cuda:0");
  EXPECT_EQ(named.name, "cuda:0");
  EXPECT_EQ(ChooseDevice(engine, "auto").name, "cuda:1");
  EXPECT_EQ(ChooseDevice("/bin/false", "cuda:0").name, "cuda:0");
  EXPECT_EQ(ChooseDevice(engine, "cpu").name, "cpu");
}

}  // namespace
}  // namespace graft
