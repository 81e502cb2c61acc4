#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/stop_signal.h"
#include "common/base/subprocess.h"

namespace graft {

inline constexpr int kAutomaticWorkers = -1;

struct LocalWorkersOptions {
  // kAutomaticWorkers: one for each GPU that the engine sees, else one.
  int count = 0;
  std::string program;         // graft-worker
  std::string engine;          // Passed on; empty: the worker's own choice.
  std::string device;          // Passed on; empty: the worker's own choice (auto).
  std::string server_address;  // Of the workers' listener.
  std::string directory;       // Below it: 1/, 2/, …, each a worker's state.
  bool log_to_stderr = false;  // Else to worker.log in their state, which they rotate.
  bool log_json = false;
  std::string log_level = "info";
  // Between SIGTERM and SIGKILL, in Stop. A worker has most of it to save its jobs.
  absl::Duration stop_grace = absl::Seconds(20);
  absl::Duration check_interval = absl::Seconds(1);
  // Between a worker's end and its next start: doubles from the first to the last.
  absl::Duration first_restart_delay = absl::Seconds(1);
  absl::Duration last_restart_delay = absl::Seconds(30);
  // One that ran for so long had no trouble at its start: its next delay is the first again.
  absl::Duration healthy_after = absl::Minutes(5);
};

// How long a worker that has ended waits for its next start.
class RestartDelay {
 public:
  explicit RestartDelay(const LocalWorkersOptions& options)
      : first_(options.first_restart_delay),
        last_(options.last_restart_delay),
        healthy_after_(options.healthy_after),
        next_(first_) {}

  // After one that ran for `ran`.
  absl::Duration After(absl::Duration ran);

 private:
  const absl::Duration first_;
  const absl::Duration last_;
  const absl::Duration healthy_after_;
  absl::Duration next_;
};

// Keeps `count` graft-worker processes of this machine running. They are processes of their own, in
// sessions of their own: one that survived an earlier server holds the lock of its state directory
// and is left to work on; it finds its way back by itself. It is ended when this server would start
// it otherwise (for another address or device, say), or not at all. Owns one thread.
class LocalWorkers {
 public:
  // NOT_FOUND: no such program.
  static absl::StatusOr<std::unique_ptr<LocalWorkers>> Start(LocalWorkersOptions options);
  // Leaves the workers running.
  ~LocalWorkers();

  // Ends the workers, survivors too: SIGTERM, SIGINT for what still saves when most of the grace is
  // over, and SIGKILL for what is there after it.
  void Stop();

  // The same for the workers below `directory`, from outside.
  static void StopAll(const std::string& directory, absl::Duration grace);
  // How many run below `directory`.
  static int CountRunning(const std::string& directory);

  // Tells the workers, survivors too, to open their log files anew.
  void ReopenLogs();

 private:
  struct Slot {
    std::string state;                // Directory.
    std::optional<Subprocess> child;  // Nothing: not started by this server, or over.
    absl::Duration next_start;        // Boottime.
    absl::Duration started;           // Boottime: the child, or the last try.
    RestartDelay delay;
    bool survivor_checked = false;
  };

  explicit LocalWorkers(LocalWorkersOptions options);
  void Run();
  void Check(Slot& slot);
  // Ends a worker of an earlier server that is not what this one would start; once for each slot.
  void CheckSurvivor(Slot& slot);
  void EndWorkersBeyondCount();
  void StartWorker(Slot& slot);
  // But for how it logs.
  std::vector<std::string> CommandOf(const Slot& slot) const;

  const LocalWorkersOptions options_;
  Clock& clock_ = Clock::Real();
  StopSignal stop_;
  std::vector<Slot> slots_;  // The thread's own.
  std::thread thread_;
};

}  // namespace graft
