#include "worker/agent/engine_launcher.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "common/base/clock.h"
#include "common/base/delimited_stream.h"
#include "common/base/file.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

// An "engine" that runs these lines of a shell.
std::string Program(const TempDir& directory, const std::string& lines) {
  std::string path = directory.Path("engine");
  EXPECT_TRUE(WriteFileAtomically(path, "#!/bin/sh\n" + lines + "\n").ok());
  EXPECT_EQ(::chmod(path.c_str(), 0755), 0);
  return path;
}

engine::v1::EngineCommand Large(const std::string& job) {
  engine::v1::EngineCommand command;
  command.set_job(job);
  command.mutable_run()->set_display_name(std::string(1 << 20, 'x'));
  return command;
}

TEST(EngineLauncherTest, AnEngineThatReadsNothingBlocksNobody) {
  const TempDir directory;
  const auto launcher = MakeProcessEngineLauncher(Program(directory, "exec sleep 1000"), "cpu", 1);
  const auto engine = launcher->Launch(directory.Path("log"));
  ASSERT_TRUE(engine.ok()) << engine.status();
  absl::Status sent;
  int count = 0;
  for (; sent.ok() && count < 100; ++count) sent = (*engine)->Send(Large("a"));
  EXPECT_TRUE(absl::IsResourceExhausted(sent)) << sent;
  (*engine)->Kill();
  EXPECT_EQ((*engine)->WaitForEnd().text, "signal 9 (Killed)");
}

TEST(EngineLauncherTest, FencesThatWaitBecomeTheLast) {
  const TempDir directory;
  const std::string go = directory.Path("go"), heard = directory.Path("heard");
  const auto launcher = MakeProcessEngineLauncher(
      Program(directory, "while [ ! -e " + go + " ]; do sleep 0.01; done; exec cat <&3 >" + heard),
      "cpu", 1);
  const auto engine = launcher->Launch(directory.Path("log"));
  ASSERT_TRUE(engine.ok()) << engine.status();
  // More than a socket holds: what follows waits.
  for (int i = 0; i < 3; ++i) ASSERT_TRUE((*engine)->Send(Large("a")).ok());
  engine::v1::EngineCommand fence;
  fence.set_job("a");
  for (int i = 0; i < 1000; ++i) {
    fence.mutable_fence()->set_boottime_ns(i);
    ASSERT_TRUE((*engine)->Send(fence).ok());
  }
  ASSERT_TRUE(WriteFileAtomically(go, "").ok());
  const int64_t all = 3 * static_cast<int64_t>(Large("a").ByteSizeLong() + 3) +
                      static_cast<int64_t>(fence.ByteSizeLong()) + 1;
  while (FileSize(heard).value_or(0) < all) {
    Clock::Real().SleepFor(absl::Milliseconds(5));  // tidy: another process tells nobody.
  }
  const UniqueFd file = *OpenFile(heard, O_RDONLY);
  DelimitedReader reader(file.get());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(reader.Read().ok());
  engine::v1::EngineCommand last;
  ASSERT_TRUE(last.ParseFromString(reader.Read().value()));
  EXPECT_EQ(last.fence().boottime_ns(), 999);
  EXPECT_TRUE(absl::IsOutOfRange(reader.Read().status())) << "another fence";
}

}  // namespace
}  // namespace graft
