#include "server/process/local_workers.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/base/clock.h"
#include "common/base/engine_devices.h"
#include "common/base/file.h"
#include "common/base/process_lock.h"
#include "common/base/status_macros.h"
#include "common/telemetry/log.h"

namespace graft {
namespace {

constexpr int64_t kMaxCommandLineBytes = 64 * 1024;
// Of the grace; in the rest a worker tells what became of its jobs.
constexpr double kShareForSaving = 0.7;
constexpr double kShareForStopping = 0.85;
constexpr char kPidFile[] = "pid";
constexpr char kCommandFile[] = "command";  // What it was started with, an argument a line.
constexpr char kLogFile[] = "worker.log";
constexpr char kLockFile[] = "lock";  // The worker's own: see worker_main.cc.

// Empty when there is no such process.
std::string CommandLineOf(pid_t pid) {
  return ReadFile(absl::StrCat("/proc/", pid, "/cmdline"), kMaxCommandLineBytes).value_or("");
}

// The worker that runs in `state`, 0 if there is none. The lock says that there is one; the command
// line, that the process id is still its.
pid_t RunningWorker(const std::string& state) {
  if (!IsLocked(JoinPath(state, kLockFile))) return 0;
  const auto text = ReadFile(JoinPath(state, kPidFile), 64);
  int32_t pid = 0;
  if (!text.ok() || !absl::SimpleAtoi(*text, &pid)) return 0;
  return absl::StrContains(CommandLineOf(pid), state) ? pid : 0;
}

bool IsAlive(const std::string& state) { return IsLocked(JoinPath(state, kLockFile)); }

// Waits until none of the workers holds its lock, or `grace` is over.
bool WaitUntilGone(const std::vector<std::string>& states, absl::Duration grace) {
  Clock& clock = Clock::Real();
  const absl::Duration deadline = clock.Boottime() + grace;
  while (std::any_of(states.begin(), states.end(), IsAlive)) {
    if (clock.Boottime() >= deadline) return false;
    // tidy: processes that are no children of ours cannot be waited for otherwise.
    clock.SleepFor(absl::Milliseconds(20));
  }
  return true;
}

void SignalWorkers(const std::vector<std::string>& states, int signal) {
  for (const std::string& state : states) {
    if (const pid_t pid = RunningWorker(state); pid > 0) ::kill(pid, signal);
  }
}

// One that saves for longer than its share, as it was told by an earlier server, ends at SIGINT.
void StopWorkers(const std::vector<std::string>& states, absl::Duration grace) {
  SignalWorkers(states, SIGTERM);
  if (WaitUntilGone(states, kShareForStopping * grace)) return;
  SignalWorkers(states, SIGINT);
  if (WaitUntilGone(states, (1 - kShareForStopping) * grace)) return;
  SignalWorkers(states, SIGKILL);
  WaitUntilGone(states, absl::Seconds(5));
}

std::vector<std::string> StatesBelow(const std::string& directory) {
  std::vector<std::string> states;
  const auto names = ListDirectory(directory);
  if (!names.ok()) return states;
  for (const std::string& name : *names) states.push_back(JoinPath(directory, name));
  return states;
}

// At least 1. The engine is asked that the workers will use.
int CountOfGpus(const LocalWorkersOptions& options) {
  if (!options.device.empty() && options.device != "auto") return 1;
  const std::string engine = options.engine.empty()
                                 ? JoinPath(DirectoryOf(options.program), "graft-engine")
                                 : options.engine;
  const absl::StatusOr<EngineDevices> found = AskEngineForDevices(engine);
  if (!found.ok()) {
    Log(LogLevel::kWarning, "the engine does not say how many GPUs there are: one local worker",
        {{"error", std::string(found.status().message())}});
    return 1;
  }
  return std::max(1, static_cast<int>(found->Gpus().size()));
}

}  // namespace

absl::Duration RestartDelay::After(absl::Duration ran) {
  if (ran >= healthy_after_) next_ = first_;
  const absl::Duration delay = next_;
  next_ = std::min(next_ * 2, last_);
  return delay;
}

LocalWorkers::LocalWorkers(LocalWorkersOptions options) : options_(std::move(options)) {
  for (int i = 1; i <= options_.count; ++i) {
    slots_.push_back(
        {.state = JoinPath(options_.directory, absl::StrCat(i)), .delay = RestartDelay(options_)});
  }
}

absl::StatusOr<std::unique_ptr<LocalWorkers>> LocalWorkers::Start(LocalWorkersOptions options) {
  if (options.count == kAutomaticWorkers) options.count = CountOfGpus(options);
  if (options.count > 0 && ::access(options.program.c_str(), X_OK) != 0) {
    return absl::NotFoundError(absl::StrCat(options.program, " is no program, and --workers ",
                                            options.count,
                                            " needs it; --worker-program names graft-worker"));
  }
  std::unique_ptr<LocalWorkers> workers(new LocalWorkers(std::move(options)));
  for (const Slot& slot : workers->slots_) RETURN_IF_ERROR(CreateDirectories(slot.state));
  workers->thread_ = std::thread([raw = workers.get()] { raw->Run(); });
  pthread_setname_np(workers->thread_.native_handle(), "local-workers");
  return workers;
}

LocalWorkers::~LocalWorkers() {
  stop_.Stop();
  if (thread_.joinable()) thread_.join();
}

void LocalWorkers::Run() {
  EndWorkersBeyondCount();
  do {
    for (Slot& slot : slots_) Check(slot);
  } while (!stop_.WaitFor(options_.check_interval));
}

void LocalWorkers::Check(Slot& slot) {
  if (slot.child.has_value()) {
    const auto end = slot.child->WaitFor(absl::ZeroDuration());
    if (!end.has_value()) return;
    const absl::Duration now = clock_.Boottime();
    const absl::Duration delay = slot.delay.After(now - slot.started);
    Log(LogLevel::kWarning, "local worker ended",
        {{"state", slot.state},
         {"end", end->ToString()},
         {"starts_again_in", absl::FormatDuration(delay)}});
    slot.child.reset();
    slot.next_start = now + delay;
  }
  if (clock_.Boottime() < slot.next_start) return;
  if (IsAlive(slot.state)) return CheckSurvivor(slot);
  StartWorker(slot);
}

void LocalWorkers::CheckSurvivor(Slot& slot) {
  if (std::exchange(slot.survivor_checked, true)) return;
  const auto command = ReadFile(JoinPath(slot.state, kCommandFile), kMaxCommandLineBytes);
  if (!command.ok() || *command == absl::StrJoin(CommandOf(slot), "\n")) {
    Log(LogLevel::kInfo, "the worker of an earlier server works on", {{"state", slot.state}});
    return;
  }
  Log(LogLevel::kWarning,
      "the worker of an earlier server was started otherwise: it is ended, and its job goes on in "
      "a new one",
      {{"state", slot.state}, {"was", absl::StrReplaceAll(*command, {{"\n", " "}})}});
  if (const pid_t pid = RunningWorker(slot.state); pid > 0) ::kill(pid, SIGTERM);
}

void LocalWorkers::EndWorkersBeyondCount() {
  const auto names = ListDirectory(options_.directory);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    int number = 0;
    if (!absl::SimpleAtoi(name, &number) || number <= options_.count) continue;
    const std::string state = JoinPath(options_.directory, name);
    const pid_t pid = RunningWorker(state);
    if (pid <= 0) continue;
    Log(LogLevel::kWarning, "a worker of an earlier server is more than --workers: it is ended",
        {{"state", state}});
    ::kill(pid, SIGTERM);
  }
}

std::vector<std::string> LocalWorkers::CommandOf(const Slot& slot) const {
  std::vector<std::string> command = {options_.program, "--server", options_.server_address,
                                      "--state", slot.state};
  if (!options_.engine.empty()) command.insert(command.end(), {"--engine", options_.engine});
  if (!options_.device.empty()) command.insert(command.end(), {"--device", options_.device});
  if (options_.count > 1) {
    command.insert(command.end(), {"--machine-workers", absl::StrCat(options_.count)});
  }
  return command;
}

void LocalWorkers::StartWorker(Slot& slot) {
  SubprocessOptions process;
  process.argv = CommandOf(slot);
  const std::string command = absl::StrJoin(process.argv, "\n");
  process.argv.insert(
      process.argv.end(),
      {"--stop-seconds", absl::StrCat(kShareForSaving * absl::ToDoubleSeconds(options_.stop_grace)),
       "--log-level", options_.log_level});
  if (options_.log_json) process.argv.push_back("--log-json");
  if (!options_.log_to_stderr) {
    const std::string log = JoinPath(slot.state, kLogFile);
    process.argv.insert(process.argv.end(), {"--log-file", log});
    // What it says before its log begins, or cannot begin.
    process.stdout_path = process.stderr_path = log;
  }
  process.detached = true;
  slot.started = clock_.Boottime();
  auto child = Subprocess::Start(process);
  if (!child.ok()) {
    Log(LogLevel::kError, "cannot start a local worker", {{"error", child.status().ToString()}});
    slot.next_start = slot.started + slot.delay.After(absl::ZeroDuration());
    return;
  }
  slot.survivor_checked = true;
  absl::Status written = WriteFileAtomically(JoinPath(slot.state, kCommandFile), command);
  written.Update(WriteFileAtomically(JoinPath(slot.state, kPidFile), absl::StrCat(child->pid())));
  Log(written.ok() ? LogLevel::kInfo : LogLevel::kWarning, "local worker started",
      {{"pid", absl::StrCat(child->pid())}, {"state", slot.state}, {"log", process.stderr_path}});
  slot.child.emplace(*std::move(child));
}

void LocalWorkers::Stop() {
  stop_.Stop();
  if (thread_.joinable()) thread_.join();
  std::vector<std::string> states;
  for (const Slot& slot : slots_) {
    states.push_back(slot.state);
    // One that has not taken its lock yet.
    if (slot.child.has_value()) slot.child->Signal(SIGTERM);
  }
  StopWorkers(states, options_.stop_grace);
  for (Slot& slot : slots_) {
    if (slot.child.has_value()) slot.child->WaitFor(absl::Seconds(5));
  }
}

void LocalWorkers::ReopenLogs() {
  for (const Slot& slot : slots_) {
    const pid_t pid = RunningWorker(slot.state);
    // One without a file, which an earlier server may have started, would end.
    if (pid > 0 && absl::StrContains(CommandLineOf(pid), "--log-file")) ::kill(pid, SIGHUP);
  }
}

void LocalWorkers::StopAll(const std::string& directory, absl::Duration grace) {
  StopWorkers(StatesBelow(directory), grace);
}

int LocalWorkers::CountRunning(const std::string& directory) {
  const std::vector<std::string> states = StatesBelow(directory);
  return static_cast<int>(std::count_if(states.begin(), states.end(),
                                        [](const auto& s) { return RunningWorker(s) > 0; }));
}

}  // namespace graft
