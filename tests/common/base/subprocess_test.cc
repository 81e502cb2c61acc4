#include "common/base/subprocess.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <iterator>

#include "common/base/file.h"
#include "common/base/unique_fd.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

SubprocessOptions Shell(const std::string& script) {
  SubprocessOptions options;
  options.argv = {"/bin/sh", "-c", script};
  return options;
}

TEST(SubprocessTest, ReportsExitCodeAndSignal) {
  auto failed = Subprocess::Start(Shell("exit 3"));
  ASSERT_TRUE(failed.ok()) << failed.status();
  EXPECT_EQ(failed->Wait().code, 3);
  auto killed = Subprocess::Start(Shell("kill -9 $$"));
  ASSERT_TRUE(killed.ok());
  EXPECT_EQ(killed->Wait().signal, SIGKILL);
  EXPECT_EQ(killed->Wait().ToString(), "signal 9 (Killed)");
}

TEST(SubprocessTest, AMissingProgramIsNotFoundAtTheStart) {
  SubprocessOptions options;
  options.argv = {"/no/such/program"};
  EXPECT_EQ(Subprocess::Start(options).status().code(), absl::StatusCode::kNotFound);
}

TEST(SubprocessTest, TheChildGetsDescriptorThreeAndItsEnvironment) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  UniqueFd ours(fds[0]);
  UniqueFd theirs(fds[1]);
  SubprocessOptions options = Shell("printf \"$GREETING\" >&3");
  options.environment["GREETING"] = "hello";
  options.inherited_fd = theirs.get();
  auto child = Subprocess::Start(options);
  ASSERT_TRUE(child.ok());
  EXPECT_TRUE(child->Wait().success());
  char buffer[16];
  EXPECT_EQ(std::string(buffer, read(ours.get(), buffer, sizeof(buffer))), "hello");
}

TEST(SubprocessTest, OtherDescriptorsAreClosedInTheChild) {
  UniqueFd leak(dup(2));
  auto child = Subprocess::Start(Shell("test ! -e /proc/self/fd/" + std::to_string(leak.get())));
  ASSERT_TRUE(child.ok());
  EXPECT_TRUE(child->Wait().success());
}

TEST(SubprocessTest, ARunningChildIsKilledWithItsOwner) {
  pid_t pid;
  {
    auto child = Subprocess::Start(Shell("exec tail -f /dev/null"));
    ASSERT_TRUE(child.ok());
    pid = child->pid();
    EXPECT_FALSE(child->WaitFor(absl::Milliseconds(1)).has_value());
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

// From here on this process has neither pidfd_open nor close_range, as in an old kernel or a strict
// container.
bool ForbidNewCalls() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {static_cast<unsigned short>(std::size(filter)), filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 &&
         syscall(SYS_pidfd_open, getpid(), 0) < 0;
}

// What a supervisor needs, in a process of its own; returns the number of what went wrong.
int SuperviseWithoutNewCalls() {
  if (!ForbidNewCalls()) return 1;
  auto ended = Subprocess::Start(Shell("exit 3"));
  if (!ended.ok() || ended->Wait().code != 3) return 2;
  auto running = Subprocess::Start(Shell("exec tail -f /dev/null"));
  if (!running.ok() || running->WaitFor(absl::Milliseconds(1)).has_value()) return 3;
  running->Signal(SIGTERM);
  if (running->WaitFor(absl::Minutes(1)) == std::nullopt) return 4;
  if (running->Wait().signal != SIGTERM) return 5;
  running->Signal(SIGTERM);  // Nobody's.
  const UniqueFd leak(dup(2));
  auto child = Subprocess::Start(Shell("test ! -e /proc/self/fd/" + std::to_string(leak.get())));
  if (!child.ok() || !child->Wait().success()) return 6;
  return 0;
}

TEST(SubprocessDeathTest, AChildsEndIsNoticedWherePidfdOpenAndCloseRangeAreForbidden) {
  EXPECT_EXIT(std::_Exit(SuperviseWithoutNewCalls()), testing::ExitedWithCode(0), "");
}

TEST(SubprocessTest, OutputGoesToTheNamedFile) {
  const TempDir directory;
  const std::string path = directory.Path("output");
  SubprocessOptions options = Shell("echo out; echo err >&2");
  options.stdout_path = options.stderr_path = path;
  auto child = Subprocess::Start(options);
  ASSERT_TRUE(child.ok());
  child->Wait();
  EXPECT_EQ(ReadFile(path, 100).value(), "out\nerr\n");
}

TEST(SubprocessTest, TheChildReadsAndWritesThroughPipes) {
  int in[2], out[2];
  ASSERT_EQ(pipe(in), 0);
  ASSERT_EQ(pipe(out), 0);
  SubprocessOptions options = Shell("read word; echo \"$word!\"; echo error >&2");
  options.stdin_fd = in[0];
  options.output_fd = out[1];
  auto child = Subprocess::Start(options);
  ASSERT_TRUE(child.ok()) << child.status();
  ASSERT_EQ(write(in[1], "hello\n", 6), 6);
  EXPECT_TRUE(child->Wait().success());
  char buffer[64];
  EXPECT_EQ(std::string(buffer, read(out[0], buffer, sizeof(buffer))), "hello!\nerror\n");
  for (const int fd : {in[0], in[1], out[0], out[1]}) EXPECT_EQ(close(fd), 0);
}

// Whoever holds the other end of `out` when everybody has ended it is read to its end.
TEST(SubprocessTest, AGroupIsSignalledAndNobodyOfItIsLeft) {
  int out[2];
  ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
  SubprocessOptions options = Shell("sleep 1000 & echo begun; wait");
  options.output_fd = out[1];
  options.own_group = true;
  auto child = Subprocess::Start(options);
  ASSERT_TRUE(child.ok()) << child.status();
  ASSERT_EQ(close(out[1]), 0);
  char buffer[64];
  ASSERT_EQ(read(out[0], buffer, sizeof(buffer)), 6);
  EXPECT_NE(getpgid(child->pid()), getpgid(0));
  child->SignalGroup(SIGTERM);
  EXPECT_EQ(child->Wait().signal, SIGTERM);
  EXPECT_EQ(read(out[0], buffer, sizeof(buffer)), 0) << "its own child holds the pipe";
  // And one that ends by itself takes along what it began.
  ASSERT_EQ(close(out[0]), 0);
  ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
  options = Shell("sleep 1000 &");
  options.output_fd = out[1];
  options.own_group = true;
  auto ends = Subprocess::Start(options);
  ASSERT_TRUE(ends.ok());
  ASSERT_EQ(close(out[1]), 0);
  EXPECT_TRUE(ends->Wait().success());
  EXPECT_EQ(read(out[0], buffer, sizeof(buffer)), 0);
  EXPECT_EQ(close(out[0]), 0);
}

}  // namespace
}  // namespace graft
