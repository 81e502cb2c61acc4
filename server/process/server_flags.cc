#include "server/process/server_flags.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/auto_or_number.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/base/version.h"
#include "common/telemetry/exposer.h"

namespace graft {
namespace {

// sockaddr_un's path, its end included.
constexpr size_t kMaxSocketPathBytes = 107;

void AddPlaces(CLI::App& app, ServerFlags& flags) {
  app.add_option("--data", flags.data, "Directory for everything that has no place of its own")
      ->capture_default_str();
  app.add_option("--store", flags.store,
                 "Where jobs are kept: sqlite:PATH, or memory: (nothing is kept) "
                 "[sqlite:DATA/graft.db]");
  app.add_option("--artifacts", flags.artifacts,
                 "Directory of data sets, checkpoints and published adapters [DATA/artifacts]");
  app.add_option("--models", flags.models,
                 "Directory of Hugging Face GPT-2 folders, known by their names from the start");
}

void AddListeners(CLI::App& app, ServerFlags& flags) {
  app.add_option("--listen", flags.listen, "Users' address; port 0 takes a free one")
      ->capture_default_str();
  app.add_option("--worker-listen", flags.worker_listen,
                 "Workers' address: unix:PATH or HOST:PORT [unix:DATA/workers.sock]");
  app.add_option("--http", flags.http,
                 "Address of /metrics, /healthz and the API as JSON (/v1); port 0 takes a free one")
      ->capture_default_str();
  app.add_flag("--http-api", flags.http_api,
               "Serve the API there, too, where --http can be reached from other machines");
  app.add_option("--http-host", flags.http_hosts,
                 "A name by which browsers and clients may ask for it, beside localhost and its "
                 "address; may be given more than once")
      ->allow_extra_args(false);
  app.add_flag("--insecure", flags.insecure,
               "Allow addresses that other machines reach, without TLS");
  app.add_flag("--reflection", flags.reflection, "Serve gRPC reflection");
  app.add_option("--ready-file", flags.ready_file,
                 "File that appears, with the bound addresses as JSON, once the server is ready");
}

void AddWorkers(CLI::App& app, ServerFlags& flags) {
  app.add_option("--workers", flags.workers,
                 "graft-worker processes to keep on this machine; auto: one for each GPU that the "
                 "engine sees, else one")
      ->transform(AutoOrNumber(0, 64))
      ->capture_default_str();
  app.add_option("--worker-program", flags.worker_program,
                 "The program graft-worker [beside this one]");
  app.add_option("--engine", flags.engine, "The program graft-engine of local workers");
  app.add_option(
      "--device", flags.device,
      "Device of local workers' engines: cpu, cuda:N [auto: a GPU each while there are any]");
  app.add_option(
         "--engine-threads", flags.engine_threads,
         "CPU threads of jobs that do not say: a number is written into the job, since sums "
         "depend on it; auto: the cores that its worker may use, shared by its slots and the "
         "local workers, as the job's first attempt finds them")
      ->transform(AutoOrNumber(1, kMaxThreads))
      ->default_str("auto");
}

void AddBounds(CLI::App& app, ServerFlags& flags) {
  app.add_option("--max-queued-jobs", flags.max_queued_jobs, "More are refused")
      ->check(CLI::Range(int64_t{1}, int64_t{100'000'000}))
      ->capture_default_str();
  app.add_flag("--preemption", flags.preemption,
               "A queued job of higher priority that no free worker takes has a running one make "
               "way: it saves and is queued again");
  app.add_option("--max-waiting-texts", flags.max_waiting_texts,
                 "Texts that wait for a worker; more are refused")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  app.add_option(
         "--keep-checkpoints-days", flags.keep_checkpoints_days,
         "A job that is done keeps its last checkpoint this long, for graft retry and graft "
         "continue")
      ->check(CLI::Range(0.0, 3650.0))
      ->capture_default_str();
  app.add_option("--keep-jobs-days", flags.keep_jobs_days,
                 "A job that is done is deleted after this long, with its logs and files; what it "
                 "published stays [for ever]")
      ->check(CLI::Range(0.0, 36500.0));
  app.add_option("--quota-gb", flags.quota_gb,
                 "Room for stored files: data sets, models, adapters, checkpoints, results; beyond "
                 "it nothing is taken in, and jobs wait with what they save [what the disk has]")
      ->check(CLI::PositiveNumber);
  app.add_option("--rpc-threads", flags.rpc_threads, "Threads that serve calls")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--heartbeat-seconds", flags.heartbeat_seconds, "Between a worker's heartbeats")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  app.add_option("--lease-seconds", flags.lease_seconds,
                 "A job stays with a silent worker this long")
      ->check(CLI::Range(0.05, 86400.0))
      ->capture_default_str();
  app.add_option("--lease-margin-seconds", flags.lease_margin_seconds,
                 "A worker stops this long before its lease ends")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  app.add_option("--watch-heartbeat-seconds", flags.watch_heartbeat_seconds,
                 "Between heartbeats to watchers")
      ->check(CLI::Range(0.01, 15.0))
      ->capture_default_str();
  app.add_option("--drain-seconds", flags.drain_seconds,
                 "Running calls may take this long at the end")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  app.add_option(
         "--stop-seconds", flags.stop_seconds,
         "The end may take this long in all; local workers that are to stop have half of it, and "
         "what still runs then is dropped")
      ->check(CLI::Range(1.0, 3600.0))
      ->capture_default_str();
  app.add_flag("--stop-workers", flags.stop_workers,
               "End local workers with this program, whatever signal ends it (in a container they "
               "could not outlive it)");
}

void AddJobEnd(CLI::App& app, ServerFlags& flags) {
  app.add_option("--on-job-end", flags.on_job_end,
                 "A program that is run at each job's end, with the job as JSON on its standard "
                 "input and in GRAFT_JOB, GRAFT_STATE, GRAFT_SERVER");
  app.add_option("--on-job-end-seconds", flags.on_job_end_seconds,
                 "It may run this long; then it gets SIGTERM, and SIGKILL")
      ->check(CLI::Range(0.01, 86400.0))
      ->capture_default_str();
}

void AddLogs(CLI::App& app, ServerFlags& flags) {
  app.add_option("--log-level", flags.log_level, "debug, info, warning or error")
      ->capture_default_str();
  app.add_option("--log-file", flags.log_file,
                 "Instead of standard error; SIGHUP opens it anew, for logrotate");
  app.add_flag("--log-json", flags.log_json, "One JSON object a line");
  app.add_option("--worker-log", flags.worker_log,
                 "Where local workers log: file (DATA/workers/N/worker.log, rotated), or stderr "
                 "(this program's own)")
      ->check(CLI::IsMember({"file", "stderr"}))
      ->capture_default_str();
}

// The options of the program may stand behind a command's name, too.
CLI::App* AddCommand(CLI::App& app, ServerFlags& flags, ServerCommand command, const char* name,
                     const char* help) {
  CLI::App* added = app.add_subcommand(name, help);
  added->fallthrough();
  added->callback([&flags, command] { flags.command = command; });
  return added;
}

void AddCommands(CLI::App& app, ServerFlags& flags) {
  AddCommand(app, flags, ServerCommand::kStop, "stop",
             "Stop the server that uses --data DIR; its local workers go on with their jobs")
      ->add_flag("--all", flags.stop_all, "Stop its local workers too");
  CLI::App* check = AddCommand(
      app, flags, ServerCommand::kCheck, "check",
      "Say whose the artifacts are, and what is wrong with the store or missing of what it names");
  check->add_flag("--read", flags.check_read, "Read all blobs and compare their bytes, too");
  check->add_flag("--adopt", flags.check_adopt,
                  "Make the artifacts the store's, while no server runs");
  AddCommand(app, flags, ServerCommand::kBackUp, "backup",
             "Back up what the server has, while it is at work or not")
      ->add_option("--to", flags.backup_to, "New directory to make; hard links where it can")
      ->required();
  AddCommand(app, flags, ServerCommand::kRestore, "restore",
             "Make --data DIR, new or empty, from a backup")
      ->add_option("--from", flags.restore_from, "Directory that backup made")
      ->required();
  AddCommand(app, flags, ServerCommand::kCollect, "gc",
             "Delete the files that nothing names and that are old enough, at once")
      ->add_flag("--dry-run", flags.collect_dry_run, "Only say what would be deleted");
}

// Without TLS only this machine may talk to the server.
absl::Status CheckAddress(const std::string& flag, const std::string& address, bool insecure) {
  if (absl::StartsWith(address, "unix:")) {
    if (address.size() - 5 <= kMaxSocketPathBytes) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(flag, ": the path ", address.substr(5),
                                                   " has more than ", kMaxSocketPathBytes,
                                                   " bytes; --worker-listen names a shorter one"));
  }
  const absl::StatusOr<HostPort> parsed = ParseHostPort(address);
  if (!parsed.ok()) return Annotate(parsed.status(), flag);
  if (insecure || IsLoopback(parsed->host)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": ", address,
                   " can be reached from other machines, and there is no TLS; "
                   "--insecure allows it"));
}

std::string BesideThisProgram(const std::string& name) {
  char path[4096];
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof(path));
  return JoinPath(DirectoryOf(absl::string_view(path, std::max<ssize_t>(length, 0))), name);
}

}  // namespace

std::string DefaultDataDirectory() {
  const char* data = std::getenv("XDG_DATA_HOME");
  if (data != nullptr && *data != '\0') return absl::StrCat(data, "/graft");
  const char* home = std::getenv("HOME");
  return absl::StrCat(home == nullptr ? "." : home, "/.local/share/graft");
}

void AddServerOptions(CLI::App& app, ServerFlags& flags) {
  app.set_version_flag("--version", kVersion);
  app.set_config("--config", "", "Configuration file: NAME=VALUE lines, names as below without --");
  app.allow_config_extras(CLI::config_extras_mode::error);
  flags.data = DefaultDataDirectory();
  AddPlaces(app, flags);
  AddListeners(app, flags);
  AddWorkers(app, flags);
  AddBounds(app, flags);
  AddJobEnd(app, flags);
  AddLogs(app, flags);
  AddCommands(app, flags);
}

absl::Status CompleteServerFlags(ServerFlags& flags) {
  // Local workers outlive this process and must find these places whatever becomes of its
  // directory.
  for (std::string* path : {&flags.data, &flags.artifacts, &flags.models, &flags.on_job_end}) {
    std::error_code error;
    if (!path->empty()) *path = std::filesystem::absolute(*path, error).string();
    if (error) return absl::InvalidArgumentError(absl::StrCat(*path, ": ", error.message()));
  }
  if (flags.store.empty()) flags.store = absl::StrCat("sqlite:", JoinPath(flags.data, "graft.db"));
  if (flags.artifacts.empty()) flags.artifacts = JoinPath(flags.data, "artifacts");
  if (flags.worker_listen.empty()) {
    flags.worker_listen = absl::StrCat("unix:", JoinPath(flags.data, "workers.sock"));
  }
  if (flags.worker_program.empty()) flags.worker_program = BesideThisProgram("graft-worker");
  // The others have no use for an address.
  if (flags.command != ServerCommand::kServe) return absl::OkStatus();
  RETURN_IF_ERROR(CheckAddress("--listen", flags.listen, flags.insecure));
  RETURN_IF_ERROR(CheckAddress("--worker-listen", flags.worker_listen, flags.insecure));
  RETURN_IF_ERROR(CheckAddress("--http", flags.http, flags.insecure));
  if (absl::StartsWith(flags.listen, "unix:")) {
    return absl::InvalidArgumentError("--listen must be HOST:PORT");
  }
  if (flags.lease_margin_seconds + flags.heartbeat_seconds >= flags.lease_seconds) {
    return absl::InvalidArgumentError(
        "--lease-seconds must be greater than --heartbeat-seconds and --lease-margin-seconds "
        "together");
  }
  return absl::OkStatus();
}

}  // namespace graft
