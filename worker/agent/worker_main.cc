// graft-worker: runs the jobs of a graft-server on this machine.

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/auto_or_number.h"
#include "common/base/byte_text.h"
#include "common/base/clock.h"
#include "common/base/command_help.h"
#include "common/base/descriptor_limit.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/machine_memory.h"
#include "common/base/process_lock.h"
#include "common/base/service_manager.h"
#include "common/base/signals.h"
#include "common/base/status_macros.h"
#include "common/base/usable_cores.h"
#include "common/base/version.h"
#include "common/rpc/channel.h"
#include "common/telemetry/exposer.h"
#include "common/telemetry/log.h"
#include "common/telemetry/log_signals.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/process_metrics.h"
#include "worker/agent/agent.h"
#include "worker/agent/device_choice.h"
#include "worker/agent/worker_id.h"

namespace graft {
namespace {

struct Flags {
  std::string server = "unix:///run/graft/workers.sock";
  std::string state;
  std::string engine;
  std::string device = "auto";
  int engine_threads = 0;       // 0: auto
  double engine_memory_gb = 0;  // 0: auto
  int machine_workers = 1;
  double cache_gb = 20;
  int slots = 1;
  bool serve = false;
  double stop_seconds = 20;
  std::string http;
  std::string log_file;
  std::string log_level = "info";
  bool log_json = false;
};

// The program `name` in this program's own directory.
std::string Beside(const std::string& name) {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  return JoinPath(DirectoryOf(absl::string_view(path, std::max<ssize_t>(length, 0))), name);
}

std::string DefaultState() {
  const char* data = std::getenv("XDG_STATE_HOME");
  if (data != nullptr && *data != '\0') return absl::StrCat(data, "/graft-worker");
  const char* home = std::getenv("HOME");
  return absl::StrCat(home == nullptr ? "." : home, "/.local/state/graft-worker");
}

// The lock stays with the process; it is what makes the id in the directory this worker's alone.
absl::StatusOr<ProcessLock> LockState(const std::string& state) {
  RETURN_IF_ERROR(CreateDirectories(state));
  absl::StatusOr<ProcessLock> lock =
      ProcessLock::Acquire(JoinPath(state, "lock"), state, "graft-worker");
  if (!absl::IsFailedPrecondition(lock.status())) return lock;
  return absl::FailedPreconditionError(
      absl::StrCat(lock.status().message(), "; give this one a --state of its own"));
}

// What SIGINT, SIGTERM or SIGUSR1 lets the worker do yet. Slurm sends the last (sbatch --signal)
// some time before it takes the machine away: what is saved until then is not lost.
absl::Duration PatienceAfter(int signal, const Flags& flags) {
  return signal == SIGUSR1 ? absl::InfiniteDuration() : absl::Seconds(flags.stop_seconds);
}

// Hears the signals that come while the worker stops: SIGTERM after SIGUSR1, a second Ctrl-C.
class LaterSignals {
 public:
  LaterSignals(const ProgramSignals& signals, const Flags& flags, Agent& agent)
      : thread_([&] {
          for (;;) {
            const int signal = WaitForEnd(signals, flags.log_file);
            if (over_) return;
            const bool at_once = signal == SIGINT;
            agent.Leave(at_once ? absl::ZeroDuration() : PatienceAfter(signal, flags));
          }
        }) {}
  ~LaterSignals() {
    over_ = true;
    pthread_kill(thread_.native_handle(), SIGTERM);
    thread_.join();
  }
  LaterSignals(const LaterSignals&) = delete;
  LaterSignals& operator=(const LaterSignals&) = delete;

 private:
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

// A GPU's own allocator knows where it ends, and other slots of it are the operator's to bound.
int64_t EngineMemoryBytes(const Flags& flags, const DeviceChoice& device) {
  if (flags.engine_memory_gb > 0) return static_cast<int64_t>(flags.engine_memory_gb * 1e9);
  if (device.name != "cpu") return 0;
  return EngineMemoryBudget(MachineMemoryBytes(), flags.slots * flags.machine_workers);
}

absl::Status Serve(const Flags& flags) {
  const ServiceManager manager = ServiceManager::FromEnvironment();
  // Before there is any other thread, and before the server can find this process.
  const ProgramSignals signals({SIGUSR1});
  LogOptions log;
  log.program = "worker";
  log.json = flags.log_json;
  log.file = flags.log_file;
  log.rotate_bytes = kLogFileBytes;
  RETURN_IF_ERROR(ParseLogLevel(flags.log_level, &log.level));
  RETURN_IF_ERROR(StartLogging(log));
  const DescriptorLimit descriptors = RaiseDescriptorLimit();
  Log(descriptors.status.ok() ? LogLevel::kInfo : LogLevel::kWarning, "descriptors",
      {{"limit", absl::StrCat(descriptors.count)},
       {"error", descriptors.status.ok() ? "" : descriptors.status.ToString()}});
  ASSIGN_OR_RETURN(const ProcessLock lock, LockState(flags.state));
  if (access(flags.engine.c_str(), X_OK) != 0) {
    return absl::NotFoundError(
        absl::StrCat(flags.engine, " is no program; --engine names graft-engine"));
  }
  Agent::Options options;
  ASSIGN_OR_RETURN(const std::string id, WorkerIdIn(flags.state));
  options.identity.set_id(id);
  options.identity.set_instance(NewWorkerId());
  options.version = kVersion;
  const DeviceChoice device = ChooseDevice(flags.engine, flags.device);
  options.devices = {device.described};
  options.engine_threads = flags.engine_threads > 0
                               ? flags.engine_threads
                               : std::max(1, UsableCores() / (flags.slots * flags.machine_workers));
  options.engine_memory_bytes = EngineMemoryBytes(flags, device);
  options.slots = flags.slots;
  options.serves_only = flags.serve;
  options.state_directory = flags.state;
  options.on_heartbeat = [&manager] {
    if (manager.watchdog() < absl::InfiniteDuration()) manager.Alive();
  };
  options.cache_max_bytes = static_cast<int64_t>(flags.cache_gb * 1e9);

  MetricRegistry metrics;
  std::unique_ptr<MetricsExposer> exposer;
  if (!flags.http.empty()) {
    ExposeProcess(metrics, kVersion);
    ExposeFilesystems(metrics, {flags.state});
    ASSIGN_OR_RETURN(exposer, MetricsExposer::Start(flags.http, metrics));
    Log(LogLevel::kInfo, "metrics", {{"address", exposer->address()}});
  }
  const auto launcher =
      MakeProcessEngineLauncher(flags.engine, device.name, options.engine_threads);
  Agent agent(options, MakeChannel(flags.server), *launcher, Clock::Real(), metrics);
  RETURN_IF_ERROR(agent.Start());
  Log(LogLevel::kInfo, "worker started",
      {{"id", id},
       {"server", flags.server},
       {"slots", absl::StrCat(flags.slots)},
       {"device", device.described},
       {"engine_threads", absl::StrCat(options.engine_threads)},
       {"engine_memory", FormatBytes(options.engine_memory_bytes)}});
  manager.Ready(absl::StrCat("for ", flags.server));
  const int signal = WaitForEnd(signals, flags.log_file);
  Log(LogLevel::kInfo, "stopping", {{"signal", absl::StrCat(signal)}});
  manager.Stopping();
  agent.Leave(PatienceAfter(signal, flags));
  const LaterSignals later(signals, flags, agent);
  agent.Stop();
  return absl::OkStatus();
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  graft::Flags flags;
  flags.state = graft::DefaultState();
  flags.engine = graft::Beside("graft-engine");
  CLI::App app{
      "Runs the jobs of a graft-server on this machine, each in an engine of its own.\n"
      "A server started with --workers N starts local ones by itself.\n\n"
      "Example: graft-worker --server unix:///srv/graft/workers.sock --slots 2"};
  app.formatter(std::make_shared<graft::CommandHelp>());
  app.set_version_flag("--version", graft::kVersion);
  app.add_option("--server", flags.server, "Address of the server's listener for workers")
      ->capture_default_str();
  app.add_option("--state", flags.state,
                 "Directory for this worker's id, its cache and its running attempts")
      ->capture_default_str();
  app.add_option("--cache-gb", flags.cache_gb,
                 "Room for fetched inputs and tokenised data; beyond it, what was used longest ago "
                 "goes (but nothing used within the hour)")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--engine", flags.engine, "The program graft-engine")->capture_default_str();
  app.add_option(
         "--device", flags.device,
         "Where the engine computes: cpu, cuda, cuda:N, or auto: the first GPU that no other "
         "worker of this machine has, else the CPU")
      ->capture_default_str();
  app.add_option("--engine-threads", flags.engine_threads,
                 "CPU threads of an engine, for jobs that do not say; auto: the cores that this "
                 "process may use, shared by its slots and the machine's workers")
      ->transform(graft::AutoOrNumber(1, graft::kMaxThreads))
      ->default_str("auto");
  app.add_option("--engine-memory-gb", flags.engine_memory_gb,
                 "Memory that an engine may take; a job that needs more goes on with smaller "
                 "micro-batches, or fails with figures [of a CPU: what the machine or its control "
                 "group has less 1 GiB, shared by its slots and the machine's workers]")
      ->check(CLI::PositiveNumber);
  app.add_option("--machine-workers", flags.machine_workers,
                 "Workers that share this machine's cores and memory, this one included")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--slots", flags.slots, "Jobs at once")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_flag("--serve", flags.serve,
               "Run no jobs: make texts only (graft generate), a batch in each slot");
  app.add_option(
         "--stop-seconds", flags.stop_seconds,
         "On SIGTERM or SIGINT jobs end their step, are saved and handed back: for so long; "
         "what is not over then goes on from its last checkpoint. A second SIGINT ends the "
         "wait. SIGUSR1 stops without a limit")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  app.add_option("--http", flags.http,
                 "Serve /metrics at this HOST:PORT (port 0: any free one); default: not at all");
  app.add_option(
      "--log-file", flags.log_file,
      "Append the log here instead of standard error; of 10 MiB it becomes FILE.1 and so on, "
      "four are kept; SIGHUP opens it anew");
  app.add_option("--log-level", flags.log_level, "debug, info, warning or error")
      ->capture_default_str();
  app.add_flag("--log-json", flags.log_json, "Log lines as JSON objects");
  CLI11_PARSE(app, argc, argv);
  absl::Status status = graft::ArmFailpointsOfEnvironment();
  if (status.ok()) status = graft::Serve(flags);
  if (!status.ok()) {
    std::fprintf(stderr, "graft-worker: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
