#include "worker/agent/engine_launcher.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <deque>
#include <optional>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/delimited_stream.h"
#include "common/base/file.h"
#include "common/base/machine_memory.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/base/subprocess.h"
#include "common/base/unique_fd.h"

namespace graft {
namespace {

constexpr absl::Duration kTimeToExit = absl::Seconds(5);

// Commands on their way to an engine, which may read them slowly or never. Owns one thread.
class CommandSender {
 public:
  static constexpr size_t kMaxWaiting = 64;

  explicit CommandSender(int fd) : fd_(fd), writer_(fd), thread_([this] { Run(); }) {
    pthread_setname_np(thread_.native_handle(), "engine-commands");
  }
  ~CommandSender() {
    {
      MutexLock lock(mutex_);
      closing_ = true;
      changed_.NotifyAll();
    }
    ::shutdown(fd_, SHUT_RDWR);  // Ends a write that nobody reads.
    thread_.join();
  }

  absl::Status Send(const engine::v1::EngineCommand& command) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    if (!failure_.ok()) return failure_;
    if (command.has_fence() && !waiting_.empty() && waiting_.back().has_fence() &&
        waiting_.back().job() == command.job()) {
      waiting_.back() = command;
      return absl::OkStatus();
    }
    if (waiting_.size() >= kMaxWaiting) {
      return absl::ResourceExhaustedError("the engine does not read its commands");
    }
    waiting_.push_back(command);
    changed_.NotifyAll();
    return absl::OkStatus();
  }

 private:
  void Run() {
    for (;;) {
      std::string message;
      {
        MutexLock lock(mutex_);
        while (waiting_.empty() && !closing_) changed_.Wait(mutex_);
        if (closing_) return;
        message = waiting_.front().SerializeAsString();
        waiting_.pop_front();
      }
      const absl::Status written = writer_.Write(message);
      if (written.ok()) continue;
      MutexLock lock(mutex_);
      failure_ = written;
      return;
    }
  }

  const int fd_;
  DelimitedWriter writer_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<engine::v1::EngineCommand> waiting_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

class ChildEngine : public EngineProcess {
 public:
  ChildEngine(Subprocess child, UniqueFd socket)
      : child_(std::move(child)),
        socket_(std::move(socket)),
        reader_(socket_.get()),
        sender_(socket_.get()) {}

  absl::Status Send(const engine::v1::EngineCommand& command) override {
    return sender_.Send(command);
  }

  absl::StatusOr<engine::v1::EngineEvent> Read() override {
    ASSIGN_OR_RETURN(const std::string message, reader_.Read());
    engine::v1::EngineEvent event;
    if (!event.ParseFromString(message)) {
      return absl::DataLossError("the engine sent a message that is no EngineEvent");
    }
    return event;
  }

  bool IsAlive() override {
    pollfd socket = {socket_.get(), 0, 0};
    return poll(&socket, 1, 0) == 0;  // What it may tell without having been asked is its end.
  }

  void Kill() override { child_.Signal(SIGKILL); }

  void Suspend(bool suspended) override { child_.Signal(suspended ? SIGSTOP : SIGCONT); }

  End WaitForEnd() override {
    std::optional<ExitStatus> exit = child_.WaitFor(kTimeToExit);
    if (!exit.has_value()) {
      Kill();
      exit = child_.Wait();
    }
    const bool out_of_memory = exit->signal == SIGKILL && OomKillCount("/") > oom_kills_before_;
    return {exit->ToString(), out_of_memory};
  }

 private:
  const int64_t oom_kills_before_ = OomKillCount("/");
  Subprocess child_;
  const UniqueFd socket_;
  DelimitedReader reader_;
  CommandSender sender_;
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
    // What systemd, Slurm or a terminal sends to all processes is the worker's to answer.
    options.ignored_signals = {SIGINT, SIGHUP, SIGTERM, SIGUSR1};
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
