#include "server/process/server_process.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/clock.h"
#include "common/base/descriptor_limit.h"
#include "common/base/file.h"
#include "common/base/process_lock.h"
#include "common/base/service_manager.h"
#include "common/base/status_macros.h"
#include "common/base/version.h"
#include "common/telemetry/exposer.h"
#include "common/telemetry/log.h"
#include "common/telemetry/log_signals.h"
#include "common/telemetry/process_metrics.h"
#include "server/catalogue/imports.h"
#include "server/http/front.h"
#include "server/operations/artifacts_owner.h"
#include "server/operations/data_directory.h"
#include "server/operations/operations.h"
#include "server/process/admin_server.h"
#include "server/process/data_locks.h"
#include "server/process/exit_deadline.h"
#include "server/process/housekeeper.h"
#include "server/process/job_end_programs.h"
#include "server/process/local_workers.h"
#include "server/process/scrubber.h"
#include "server/process/worker_socket.h"
#include "server/rpc/server.h"

namespace graft {
namespace {

std::string WorkersDirectory(const ServerFlags& flags) { return JoinPath(flags.data, "workers"); }

RpcServerOptions RpcOptions(const ServerFlags& flags, int max_descriptors) {
  RpcServerOptions options;
  options.listen = flags.listen;
  options.max_descriptors = max_descriptors;
  options.worker_listen = flags.worker_listen;
  options.reflection = flags.reflection;
  options.max_waiting_texts = flags.max_waiting_texts;
  options.runtime.threads = flags.rpc_threads;
  options.services.spec_defaults.threads = flags.engine_threads;
  options.services.watch_heartbeat = absl::Seconds(flags.watch_heartbeat_seconds);
  options.services.worker_heartbeat = absl::Seconds(flags.heartbeat_seconds);
  options.services.lease_duration = absl::Seconds(flags.lease_seconds);
  options.services.lease_margin = absl::Seconds(flags.lease_margin_seconds);
  return options;
}

// Without TLS and accounts the API is for this machine, unless somebody says otherwise.
absl::StatusOr<HttpFront::Options> HttpOptions(const ServerFlags& flags, int max_descriptors) {
  ASSIGN_OR_RETURN(const HostPort http, ParseHostPort(flags.http));
  HttpFront::Options options;
  options.address = flags.http;
  options.max_descriptors = max_descriptors;
  options.api = flags.http_api || IsLoopback(http.host);
  options.hosts = flags.http_hosts;
  return options;
}

LocalWorkersOptions WorkerOptions(const ServerFlags& flags, const std::string& address) {
  LocalWorkersOptions options;
  options.count = flags.workers;
  options.program = flags.worker_program;
  options.engine = flags.engine;
  options.device = flags.device;
  options.server_address = address;
  options.directory = WorkersDirectory(flags);
  options.log_to_stderr = flags.worker_log == "stderr";
  options.log_json = flags.log_json;
  options.log_level = flags.log_level;
  options.stop_grace = absl::Seconds(flags.stop_seconds) / 2;
  return options;
}

absl::Status StartLog(const ServerFlags& flags) {
  LogOptions log;
  log.program = "server";
  log.json = flags.log_json;
  log.file = flags.log_file;
  RETURN_IF_ERROR(ParseLogLevel(flags.log_level, &log.level));
  return StartLogging(log);
}

StoreOptions StoreOptionsOf(const ServerFlags& flags, ServerTelemetry& telemetry) {
  StoreOptions options;
  options.lease_duration = absl::Seconds(flags.lease_seconds);
  options.max_queued_jobs = flags.max_queued_jobs;
  options.checkpoint_lifetime = flags.keep_checkpoints_days * absl::Hours(24);
  if (flags.keep_jobs_days) options.job_lifetime = *flags.keep_jobs_days * absl::Hours(24);
  options.mark_ends = !flags.on_job_end.empty();
  options.on_commit = [&telemetry](absl::Duration time, int changes) {
    telemetry.OnCommit(time, changes);
  };
  return options;
}

JobEndOptions JobEndOptionsOf(const ServerFlags& flags, const std::string& address) {
  JobEndOptions options;
  options.program = flags.on_job_end;
  options.server = address;
  options.limit = absl::Seconds(flags.on_job_end_seconds);
  return options;
}

// Says where the server can be reached, on standard output and in --ready-file.
absl::Status Announce(const ServerFlags& flags, const RpcServer& rpc, const std::string& http) {
  std::printf("graft-server %s ready: grpc=%s http=%s workers=%s\n", kVersion,
              rpc.address().c_str(), http.c_str(), rpc.worker_address().c_str());
  std::fflush(stdout);
  if (flags.ready_file.empty()) return absl::OkStatus();
  const nlohmann::json ready = {{"grpc", rpc.address()},
                                {"http", http},
                                {"workers", rpc.worker_address()},
                                {"pid", ::getpid()}};
  return WriteFileAtomically(flags.ready_file, ready.dump() + "\n");
}

// Returns how many the process may have.
int RaiseDescriptors() {
  const DescriptorLimit descriptors = RaiseDescriptorLimit();
  Log(descriptors.status.ok() ? LogLevel::kInfo : LogLevel::kWarning, "descriptors",
      {{"limit", absl::StrCat(descriptors.count)},
       {"error", descriptors.status.ok() ? "" : descriptors.status.ToString()}});
  return descriptors.count;
}

// Where the server writes: jobs, and what they are made of.
std::vector<std::string> WrittenDirectories(const ServerFlags& flags) {
  std::vector<std::string> directories = {flags.data, flags.artifacts};
  absl::string_view store = flags.store;
  if (absl::ConsumePrefix(&store, "sqlite:")) directories.push_back(DirectoryOf(store));
  return directories;
}

// Counts what is stored, before anybody asks for room.
absl::Status SetQuota(const ServerFlags& flags, FileBlobStore& blobs, MetricRegistry& registry) {
  GaugeFamily& stored = registry.AddGauge("graft_stored_bytes", "Bytes of all stored files.");
  registry.OnScrape(
      [&stored, &blobs] { stored.Set({}, static_cast<double>(blobs.stored_bytes())); });
  if (!flags.quota_gb) return absl::OkStatus();
  blobs.SetQuota(static_cast<int64_t>(*flags.quota_gb * 1e9));
  registry.AddGauge("graft_quota_bytes", "What they may have at the most.")
      .Set({}, static_cast<double>(*blobs.quota()));
  return blobs.CountBytes();
}

absl::StatusOr<std::unique_ptr<FileBlobStore>> OpenBlobs(const ServerFlags& flags, JobStore& store,
                                                         MetricRegistry& registry) {
  ASSIGN_OR_RETURN(std::unique_ptr<FileBlobStore> blobs,
                   FileBlobStore::Open(JoinPath(flags.artifacts, "blobs")));
  RETURN_IF_ERROR(ClaimArtifacts(flags.artifacts, flags.store, store, *blobs));
  RETURN_IF_ERROR(SetQuota(flags, *blobs, registry));
  return blobs;
}

absl::StatusOr<std::unique_ptr<PartialUploads>> OpenPartialUploads(FileBlobStore& blobs,
                                                                   const JobStore& store,
                                                                   MetricRegistry& registry) {
  return PartialUploads::Open(
      blobs, [&store] { return store.RunningTime(); }, registry);
}

// A server without it serves: its commands then want it stopped.
std::unique_ptr<AdminServer> StartAdminServer(const std::string& data, Operations& operations) {
  absl::StatusOr<std::unique_ptr<AdminServer>> started =
      AdminServer::Start(data, operations, Clock::Real());
  if (started.ok()) return *std::move(started);
  Log(LogLevel::kWarning,
      "no admin.sock: check, backup and gc will not work while this server runs",
      {{"data", data}, {"error", started.status().ToString()}});
  return nullptr;
}

// For the watchdog: what keeps the service alive has come round. An answer that is an error is one.
void ProveProgress(JobStore& store, RpcServer& rpc) {
  store.Ping().IgnoreError();
  rpc.AwaitScheduler();
}

// Of --stop-seconds; the rest is for what is cancelled then, and for closing the store.
constexpr double kShareForServing = 0.8;

void StopServing(const ServerFlags& flags, bool stop_workers, LocalWorkers& workers, RpcServer& rpc,
                 std::optional<JobEndPrograms>& job_ends) {
  Clock& clock = Clock::Real();
  const absl::Duration most = absl::Seconds(flags.stop_seconds);
  const absl::Duration end = clock.Boottime() + kShareForServing * most;
  // While the server still listens, so that they can save their jobs and give them back.
  if (stop_workers) workers.Stop();
  rpc.Stop(
      std::clamp(end - clock.Boottime(), absl::ZeroDuration(), absl::Seconds(flags.drain_seconds)));
  if (job_ends) job_ends->Stop(std::max(end - clock.Boottime(), absl::ZeroDuration()));
}

}  // namespace

absl::Status RunServer(ServerFlags flags, const ProgramSignals& signals) {
  const ServiceManager manager = ServiceManager::FromEnvironment();
  RETURN_IF_ERROR(CompleteServerFlags(flags));
  if (!flags.on_job_end.empty()) RETURN_IF_ERROR(CheckJobEndProgram(flags.on_job_end));
  RETURN_IF_ERROR(StartLog(flags));
  const int max_descriptors = RaiseDescriptors();
  ASSIGN_OR_RETURN(const std::vector<ProcessLock> locks, LockDirectories(flags));
  ASSIGN_OR_RETURN(const std::optional<ProcessLock> socket_lock, LockWorkerSocket(flags));
  std::optional<ExitDeadline> exit_deadline;

  MetricRegistry registry;
  ServerTelemetry telemetry(registry, Clock::Real());
  ASSIGN_OR_RETURN(const std::unique_ptr<JobStore> store,
                   OpenJobStore(flags.store, StoreOptionsOf(flags, telemetry)));
  ASSIGN_OR_RETURN(const std::unique_ptr<FileBlobStore> blobs, OpenBlobs(flags, *store, registry));
  ASSIGN_OR_RETURN(const std::unique_ptr<Publisher> publisher,
                   Publisher::Open(flags.artifacts, *store, *blobs));
  ASSIGN_OR_RETURN(const std::unique_ptr<JobLogs> logs,
                   JobLogs::Open(JoinPath(flags.artifacts, "logs")));
  ASSIGN_OR_RETURN(const auto partials, OpenPartialUploads(*blobs, *store, registry));
  if (!flags.models.empty()) {
    ImportModelFolders(*store, *blobs, flags.models, JoinPath(flags.data, "models.json"));
  }
  Scheduler scheduler(*store, Clock::Real(), {.preemption = flags.preemption});
  ASSIGN_OR_RETURN(const std::unique_ptr<RpcServer> rpc,
                   RpcServer::Start(RpcOptions(flags, max_descriptors),
                                    {Clock::Real(), registry, *store, *blobs, *publisher, *logs,
                                     scheduler, telemetry, *partials}));
  ExposeProcess(registry, kVersion);
  ExposeFilesystems(registry, WrittenDirectories(flags));
  telemetry.RefreshAtScrape(registry, *store, rpc->context().hub, rpc->context().broker, scheduler);
  ASSIGN_OR_RETURN(const HttpFront::Options http_options, HttpOptions(flags, max_descriptors));
  ASSIGN_OR_RETURN(const std::unique_ptr<HttpFront> http,
                   HttpFront::Start(http_options, registry, *rpc));
  Housekeeper housekeeper({}, *store, *blobs, *publisher, *logs, *partials);
  Scrubber scrubber({}, *blobs, registry);
  Operations operations({*store, *blobs, *logs, flags.store, flags.artifacts});
  std::unique_ptr<AdminServer> admin = StartAdminServer(flags.data, operations);
  ASSIGN_OR_RETURN(const std::unique_ptr<LocalWorkers> workers,
                   LocalWorkers::Start(WorkerOptions(flags, rpc->worker_address())));
  std::optional<JobEndPrograms> job_ends;
  if (!flags.on_job_end.empty()) {
    job_ends.emplace(JobEndOptionsOf(flags, rpc->address()), *store, registry);
  }
  RETURN_IF_ERROR(Announce(flags, *rpc, http->address()));
  Log(LogLevel::kInfo, "ready",
      {{"grpc", rpc->address()},
       {"http", http->address()},
       {"store", flags.store},
       {"artifacts", flags.artifacts},
       {"version", kVersion}});

  manager.Ready(absl::StrCat("at ", rpc->address()));
  std::optional<Watchdog> watchdog;
  watchdog.emplace(
      manager, [&] { ProveProgress(*store, *rpc); }, Clock::Real());

  const int signal = WaitForEnd(signals, flags.log_file, [&] { workers->ReopenLogs(); });
  Log(LogLevel::kInfo, "stopping", {{"signal", absl::StrCat(signal)}});
  exit_deadline.emplace(Clock::Real(), absl::Seconds(flags.stop_seconds));
  manager.Stopping();
  watchdog.reset();
  // SIGUSR1 is for the workers, and comes to all where Slurm takes the machine away.
  const bool stop_workers = signal == SIGINT || signal == SIGUSR1 || flags.stop_workers;
  admin = nullptr;
  StopServing(flags, stop_workers, *workers, *rpc, job_ends);
  Log(LogLevel::kInfo, "stopped");
  return absl::OkStatus();
}

absl::Status StopServer(const ServerFlags& flags) {
  const std::string lock = JoinPath(flags.data, kServerLockName);
  const pid_t pid = ProcessLock::OwnerOf(lock);
  if (pid == 0 && IsLocked(lock)) {
    return absl::FailedPreconditionError(absl::StrCat("a graft-server uses ", flags.data,
                                                      ", but its disk had no room to say in ", lock,
                                                      " which process it is: stop that with kill"));
  }
  if (pid == 0 && !flags.stop_all) {
    return absl::NotFoundError(absl::StrCat("no graft-server uses ", flags.data));
  }
  const int workers = LocalWorkers::CountRunning(WorkersDirectory(flags));
  if (pid != 0) {
    // As long as it is there, workers can save their jobs.
    if (::kill(pid, flags.stop_all ? SIGINT : SIGTERM) != 0) {
      return absl::PermissionDeniedError(absl::StrCat("cannot stop process ", pid));
    }
    const auto longest = std::max<double>(flags.drain_seconds, flags.stop_seconds);
    Clock& clock = Clock::Real();
    const absl::Duration deadline = clock.Boottime() + absl::Seconds(longest) + absl::Seconds(30);
    while (ProcessLock::OwnerOf(lock) == pid) {
      if (clock.Boottime() >= deadline) {
        return absl::DeadlineExceededError(absl::StrCat("process ", pid, " does not end"));
      }
      // tidy: a process that is no child of ours cannot be waited for otherwise.
      clock.SleepFor(absl::Milliseconds(20));
    }
    std::printf("stopped graft-server (process %d)\n", pid);
  }
  if (flags.stop_all) {
    LocalWorkers::StopAll(WorkersDirectory(flags), absl::Seconds(flags.stop_seconds));
    std::printf("stopped %d local workers\n", workers);
  }
  return absl::OkStatus();
}

}  // namespace graft
