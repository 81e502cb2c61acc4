#include "common/base/engine_devices.h"

#include <sys/stat.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class EngineDevicesTest : public ::testing::Test {
 protected:
  EngineDevicesTest() {
    setenv("TMPDIR", directory_.path().c_str(), 1);
    unsetenv("CUDA_VISIBLE_DEVICES");
  }
  ~EngineDevicesTest() override { unsetenv("TMPDIR"); }

  // An engine that does `body`.
  std::string Engine(const std::string& body) {
    const std::string path = directory_.Path(absl::StrCat("engine", ++engines_));
    EXPECT_TRUE(WriteFileAtomically(path, absl::StrCat("#!/bin/sh\n", body, "\n")).ok());
    EXPECT_EQ(chmod(path.c_str(), 0755), 0);
    return path;
  }

  const TempDir directory_;
  int engines_ = 0;
};

TEST_F(EngineDevicesTest, TheEngineIsAskedForThem) {
  const auto found = AskEngineForDevices(Engine(
      R"([ "$1" = devices ] && echo '{"devices": ["cpu", "cuda:0 NVIDIA H200", "cuda:1 NVIDIA H200"], "cuda": true}')"));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(found->cuda);
  EXPECT_THAT(found->Gpus(), ElementsAre("cuda:0", "cuda:1"));
  EXPECT_EQ(found->Described("cuda:1"), "cuda:1 NVIDIA H200");
  EXPECT_EQ(found->Described("cuda:7"), "cuda:7");
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre("engine1")) << "nothing is left";
}

TEST_F(EngineDevicesTest, AnEngineOfTheCpuHasNoGpus) {
  const auto found = AskEngineForDevices(Engine(R"(echo '{"devices": ["cpu"], "cuda": false}')"));
  ASSERT_TRUE(found.ok());
  EXPECT_FALSE(found->cuda);
  EXPECT_THAT(found->Gpus(), IsEmpty());
}

TEST_F(EngineDevicesTest, AnAnswerThatIsNoneIsAnError) {
  for (const char* body : {"echo hello", "exit 3", "echo '{}'", "echo '[1]'"}) {
    const auto found = AskEngineForDevices(Engine(body));
    EXPECT_TRUE(absl::IsUnavailable(found.status())) << body;
    EXPECT_THAT(std::string(found.status().message()), HasSubstr("devices")) << body;
  }
  EXPECT_TRUE(absl::IsNotFound(AskEngineForDevices(directory_.Path("none")).status()));
}

TEST_F(EngineDevicesTest, AGpuIsClaimedOnce) {
  DeviceClaim first = DeviceClaim::Take("cuda:0");
  EXPECT_TRUE(first.valid());
  EXPECT_FALSE(DeviceClaim::Take("cuda:0").valid());
  EXPECT_TRUE(DeviceClaim::Take("cuda:1").valid());
  first = DeviceClaim();
  EXPECT_TRUE(DeviceClaim::Take("cuda:0").valid()) << "given back";
}

TEST_F(EngineDevicesTest, TheSameGpuUnderAnotherNumberIsTheSame) {
  const DeviceClaim second = DeviceClaim::Take("cuda:1");
  setenv("CUDA_VISIBLE_DEVICES", "1, 3", 1);
  EXPECT_FALSE(DeviceClaim::Take("cuda:0").valid());
  EXPECT_FALSE(DeviceClaim::Take("cuda").valid());
  EXPECT_TRUE(DeviceClaim::Take("cuda:1").valid());
}

TEST_F(EngineDevicesTest, WhereNothingCanBeClaimedEveryGpuIsFree) {
  setenv("TMPDIR", directory_.Path("missing").c_str(), 1);
  EXPECT_TRUE(DeviceClaim::Take("cuda:0").valid());
}

}  // namespace
}  // namespace graft
