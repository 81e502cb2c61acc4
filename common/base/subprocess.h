#pragma once

// A child process. It knows nothing of what the child does.

#include <sys/types.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace graft {

struct SubprocessOptions {
  // argv[0] is the program's path; no shell is involved.
  std::vector<std::string> argv;
  // Added to this process's environment, or replacing what is there.
  std::map<std::string, std::string> environment;
  // Becomes the child's descriptor 3; -1: none. Stays open here and is not owned. All other
  // descriptors above 2 are closed in the child.
  int inherited_fd = -1;
  // Files that standard output and error are appended to; empty: this process's own.
  std::string stdout_path;
  std::string stderr_path;
  // Becomes standard input, and (instead of files) standard output and error; -1: this process's
  // own. Both stay open here and are not owned.
  int stdin_fd = -1;
  int output_fd = -1;
  // A session of its own: Ctrl-C on the terminal does not reach it, and it survives this process.
  bool detached = false;
  // A process group of its own, for SignalGroup: whoever is left of it when the child's end is seen
  // is killed. SIGPIPE does in it what a program expects, whatever it does here.
  bool own_group = false;
  // Signals that the child ignores from its first instruction on, unless it decides otherwise.
  std::vector<int> ignored_signals;
};

// How a child ended: exactly one of the two is set.
struct ExitStatus {
  std::optional<int> code;
  std::optional<int> signal;
  bool success() const { return code == 0; }
  std::string ToString() const;  // "exit code 3", "signal 9 (Killed)"
};

// Owns the child: destroyed while it runs, it is killed and reaped, unless it was started detached.
// One thread at a time, but Signal() may be called from any.
class Subprocess {
 public:
  // NOT_FOUND: no such program. PERMISSION_DENIED: not executable. RESOURCE_EXHAUSTED: no process
  // or memory left.
  static absl::StatusOr<Subprocess> Start(const SubprocessOptions& options);
  Subprocess(Subprocess&& other) noexcept;
  Subprocess& operator=(Subprocess&&) = delete;
  ~Subprocess();

  pid_t pid() const { return pid_; }
  // Sends a signal; nothing happens once the child was reaped.
  void Signal(int signal_number) const;
  // The same to its whole process group, of a child with own_group.
  void SignalGroup(int signal_number) const;
  // Blocks until the child has ended.
  ExitStatus Wait();
  // The same for at most `timeout`; nothing when it still runs.
  std::optional<ExitStatus> WaitFor(absl::Duration timeout);

 private:
  // A child that has ended keeps its id until it is reaped; between the two nothing else may be
  // signalled by that id.
  struct Reaping {
    Mutex mutex;
    bool done ABSL_GUARDED_BY(mutex) = false;
  };

  Subprocess(pid_t pid, int pid_fd, const SubprocessOptions& options);
  bool HasEnded() const;
  // False: it still ran when `timeout` was over.
  bool AwaitEnd(absl::Duration timeout) const;

  pid_t pid_;
  int pid_fd_;  // Tells at once that the child has ended; without it (-1) its end is polled for.
  bool detached_;
  bool own_group_;
  std::unique_ptr<Reaping> reaping_;
  std::optional<ExitStatus> exit_;
};

}  // namespace graft
