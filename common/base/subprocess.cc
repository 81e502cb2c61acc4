#include "common/base/subprocess.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/unique_fd.h"

extern char** environ;

namespace graft {
namespace {

std::vector<std::string> EnvironmentWith(const std::map<std::string, std::string>& changes) {
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string name = std::string(absl::string_view(*entry).substr(0, strcspn(*entry, "=")));
    if (!changes.contains(name)) entries.emplace_back(*entry);
  }
  for (const auto& [name, value] : changes) entries.push_back(absl::StrCat(name, "=", value));
  return entries;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Everything that the child needs between fork and exec, made beforehand: only async-signal-safe
// calls are allowed there.
struct ChildPlan {
  char* const* argv;
  char* const* environment;
  int inherited_fd;
  int stdin_fd;
  int stdout_fd;
  int stderr_fd;
  int error_pipe;
  bool detached;
  bool own_group;
  const std::vector<int>* ignored_signals;
};

// Between two looks at a child whose end nothing tells.
constexpr int kPollMilliseconds = 20;

// Where the kernel has no close_range, or a container forbids it. Async-signal-safe.
void CloseOnExecByName(int first) {
  const int directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return;
  alignas(dirent64) char buffer[2048];
  long size;
  while ((size = syscall(SYS_getdents64, directory, buffer, sizeof(buffer))) > 0) {
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
      int fd = 0;
      for (const char* c = entry->d_name; *c >= '0' && *c <= '9'; ++c) fd = fd * 10 + (*c - '0');
      if (fd >= first) fcntl(fd, F_SETFD, FD_CLOEXEC);
      at += entry->d_reclen;
    }
  }
  close(directory);
}

[[noreturn]] void RunChild(const ChildPlan& plan) {
  for (const int ignored : *plan.ignored_signals) signal(ignored, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (plan.detached) setsid();
  if (plan.own_group) {
    setpgid(0, 0);
    signal(SIGPIPE, SIG_DFL);
  }
  if (plan.stdin_fd >= 0) dup2(plan.stdin_fd, 0);
  if (plan.stdout_fd >= 0) dup2(plan.stdout_fd, 1);
  if (plan.stderr_fd >= 0) dup2(plan.stderr_fd, 2);
  int error_pipe = plan.error_pipe;
  if (error_pipe == 3) error_pipe = fcntl(error_pipe, F_DUPFD_CLOEXEC, 4);
  if (plan.inherited_fd == 3) {
    fcntl(3, F_SETFD, 0);
  } else if (plan.inherited_fd > 3) {
    dup2(plan.inherited_fd, 3);
  }
  // CLOEXEC on the rest rather than closing it: the pipe must live until exec has succeeded.
  const int first = plan.inherited_fd >= 0 ? 4 : 3;
  if (syscall(SYS_close_range, first, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */) != 0) {
    CloseOnExecByName(first);
  }
  execve(plan.argv[0], plan.argv, plan.environment);
  const int error = errno;
  (void)!write(error_pipe, &error, sizeof(error));
  _exit(127);
}

absl::StatusOr<UniqueFd> OpenLog(const std::string& path) {
  if (path.empty()) return UniqueFd();
  return OpenFile(path, O_WRONLY | O_CREAT | O_APPEND);
}

}  // namespace

std::string ExitStatus::ToString() const {
  if (code.has_value()) return absl::StrCat("exit code ", *code);
  return absl::StrCat("signal ", *signal, " (", strsignal(*signal), ")");
}

absl::StatusOr<Subprocess> Subprocess::Start(const SubprocessOptions& options) {
  std::vector<std::string> arguments = options.argv;
  std::vector<std::string> variables = EnvironmentWith(options.environment);
  const std::vector<char*> argv = Pointers(arguments);
  const std::vector<char*> environment = Pointers(variables);
  ASSIGN_OR_RETURN(const UniqueFd stdout_fd, OpenLog(options.stdout_path));
  ASSIGN_OR_RETURN(const UniqueFd stderr_fd, OpenLog(options.stderr_path));
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return FileError(errno, "make a pipe for", argv[0]);
  const UniqueFd read_end(pipe_fds[0]);
  UniqueFd write_end(pipe_fds[1]);

  const bool files = options.output_fd < 0;
  const ChildPlan plan = {.argv = argv.data(),
                          .environment = environment.data(),
                          .inherited_fd = options.inherited_fd,
                          .stdin_fd = options.stdin_fd,
                          .stdout_fd = files ? stdout_fd.get() : options.output_fd,
                          .stderr_fd = files ? stderr_fd.get() : options.output_fd,
                          .error_pipe = write_end.get(),
                          .detached = options.detached,
                          .own_group = options.own_group,
                          .ignored_signals = &options.ignored_signals};
  const pid_t pid = fork();
  if (pid < 0) return FileError(errno, "start", argv[0]);
  if (pid == 0) RunChild(plan);
  write_end = UniqueFd();
  // -1 where the kernel has none, or a container forbids it: see AwaitEnd.
  Subprocess child(pid, static_cast<int>(syscall(SYS_pidfd_open, pid, 0)), options);

  int error = 0;
  ssize_t received;
  do {
    received = read(read_end.get(), &error, sizeof(error));
  } while (received < 0 && errno == EINTR);
  if (received == sizeof(error)) {
    child.Wait();
    return FileError(error, "run", argv[0]);
  }
  return child;
}

Subprocess::Subprocess(pid_t pid, int pid_fd, const SubprocessOptions& options)
    : pid_(pid),
      pid_fd_(pid_fd),
      detached_(options.detached),
      own_group_(options.own_group),
      reaping_(std::make_unique<Reaping>()) {}

Subprocess::Subprocess(Subprocess&& other) noexcept
    : pid_(other.pid_),
      pid_fd_(other.pid_fd_),
      detached_(other.detached_),
      own_group_(other.own_group_),
      reaping_(std::move(other.reaping_)),
      exit_(other.exit_) {
  other.pid_ = -1;
  other.pid_fd_ = -1;
}

Subprocess::~Subprocess() {
  if (pid_ > 0 && !exit_.has_value() && !detached_) {
    Signal(SIGKILL);
    Wait();
  }
  if (pid_fd_ >= 0) close(pid_fd_);
}

void Subprocess::Signal(int signal_number) const {
  MutexLock lock(reaping_->mutex);
  if (!reaping_->done) kill(pid_, signal_number);
}

void Subprocess::SignalGroup(int signal_number) const {
  MutexLock lock(reaping_->mutex);
  if (!reaping_->done && own_group_) kill(-pid_, signal_number);
}

ExitStatus Subprocess::Wait() { return *WaitFor(absl::InfiniteDuration()); }

bool Subprocess::HasEnded() const {
  siginfo_t info;
  info.si_pid = 0;
  // One that cannot be waited for at all has been reaped by others.
  return waitid(P_PID, pid_, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ? errno == ECHILD
                                                                      : info.si_pid == pid_;
}

bool Subprocess::AwaitEnd(absl::Duration timeout) const {
  Clock& clock = Clock::Real();
  const absl::Duration deadline = clock.Boottime() + timeout;
  while (!HasEnded()) {
    const absl::Duration left = deadline - clock.Boottime();
    if (left <= absl::ZeroDuration()) return false;
    // Boottime goes on while the machine sleeps, and poll's time does not: in slices.
    const absl::Duration slice =
        pid_fd_ >= 0 ? absl::Seconds(1) : absl::Milliseconds(kPollMilliseconds);
    pollfd ended = {pid_fd_, POLLIN, 0};
    poll(&ended, 1,
         static_cast<int>(absl::ToInt64Milliseconds(std::min(left, slice) + absl::Milliseconds(1) -
                                                    absl::Nanoseconds(1))));
  }
  return true;
}

std::optional<ExitStatus> Subprocess::WaitFor(absl::Duration timeout) {
  if (exit_.has_value()) return exit_;
  if (!AwaitEnd(timeout)) return std::nullopt;
  int status = 0;
  {
    // Not before nobody can signal the id any more, which is free again afterwards.
    MutexLock lock(reaping_->mutex);
    reaping_->done = true;
    if (own_group_) kill(-pid_, SIGKILL);
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  exit_ = WIFSIGNALED(status) ? ExitStatus{std::nullopt, WTERMSIG(status)}
                              : ExitStatus{WEXITSTATUS(status), std::nullopt};
  return exit_;
}

}  // namespace graft
