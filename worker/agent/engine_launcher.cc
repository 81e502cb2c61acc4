#include "worker/agent/engine_launcher.h"

#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/delimited_stream.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/subprocess.h"
#include "common/base/unique_fd.h"

namespace graft {
namespace {

constexpr absl::Duration kTimeToExit = absl::Seconds(5);

// The control group's count of processes that the OOM killer ended; 0 where there is none to read.
int64_t OomKillCount() {
  const absl::StatusOr<std::string> group = ReadFile("/proc/self/cgroup", 1 << 16);
  if (!group.ok()) return 0;
  for (absl::string_view line : absl::StrSplit(*group, '\n')) {
    if (!absl::StartsWith(line, "0::")) continue;
    const auto events =
        ReadFile(absl::StrCat("/sys/fs/cgroup", line.substr(3), "/memory.events"), 1 << 16);
    if (!events.ok()) return 0;
    for (absl::string_view entry : absl::StrSplit(*events, '\n')) {
      int64_t count = 0;
      if (absl::StartsWith(entry, "oom_kill ") && absl::SimpleAtoi(entry.substr(9), &count)) {
        return count;
      }
    }
  }
  return 0;
}

class ChildEngine : public EngineProcess {
 public:
  ChildEngine(Subprocess child, UniqueFd socket)
      : child_(std::move(child)),
        socket_(std::move(socket)),
        writer_(socket_.get()),
        reader_(socket_.get()) {}

  absl::Status Send(const engine::v1::EngineCommand& command) override {
    return writer_.Write(command.SerializeAsString());
  }

  absl::StatusOr<engine::v1::EngineEvent> Read() override {
    ASSIGN_OR_RETURN(const std::string message, reader_.Read());
    engine::v1::EngineEvent event;
    if (!event.ParseFromString(message)) {
      return absl::DataLossError("the engine sent a message that is no EngineEvent");
    }
    return event;
  }

  void Kill() override { child_.Signal(SIGKILL); }

  void Suspend(bool suspended) override { child_.Signal(suspended ? SIGSTOP : SIGCONT); }

  End WaitForEnd() override {
    std::optional<ExitStatus> exit = child_.WaitFor(kTimeToExit);
    if (!exit.has_value()) {
      Kill();
      exit = child_.Wait();
    }
    const bool out_of_memory = exit->signal == SIGKILL && OomKillCount() > oom_kills_before_;
    return {exit->ToString(), out_of_memory};
  }

 private:
  const int64_t oom_kills_before_ = OomKillCount();
  Subprocess child_;
  const UniqueFd socket_;
  DelimitedWriter writer_;
  DelimitedReader reader_;
};

class ProcessEngineLauncher : public EngineLauncher {
 public:
  ProcessEngineLauncher(std::string program, std::string device, int threads)
      : program_(std::move(program)), device_(std::move(device)), threads_(threads) {}

  absl::StatusOr<std::unique_ptr<EngineProcess>> Launch(const std::string& log_path) override {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
      return FileError(errno, "make a socket for", program_);
    }
    UniqueFd ours(fds[0]);
    const UniqueFd theirs(fds[1]);
    SubprocessOptions options;
    options.argv = {program_, "serve", "--device", device_, "--threads", absl::StrCat(threads_)};
    options.inherited_fd = theirs.get();
    options.stdout_path = options.stderr_path = log_path;
    ASSIGN_OR_RETURN(Subprocess child, Subprocess::Start(options));
    return std::make_unique<ChildEngine>(std::move(child), std::move(ours));
  }

 private:
  const std::string program_;
  const std::string device_;
  const int threads_;
};

}  // namespace

std::unique_ptr<EngineLauncher> MakeProcessEngineLauncher(std::string program, std::string device,
                                                          int threads) {
  return std::make_unique<ProcessEngineLauncher>(std::move(program), std::move(device), threads);
}

}  // namespace graft
