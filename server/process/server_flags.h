#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace CLI {
class App;
}

namespace graft {

// What graft-server does: graft-server alone, stop, check, backup, restore, gc.
enum class ServerCommand { kServe, kStop, kCheck, kBackUp, kRestore, kCollect };

// What graft-server is told on its command line or in its configuration file, where the same names
// stand without the dashes.
struct ServerFlags {
  std::string data;       // Default: see DefaultDataDirectory.
  std::string store;      // Empty: sqlite:DATA/graft.db
  std::string artifacts;  // Empty: DATA/artifacts
  std::string models;     // Empty: none
  std::string listen = "127.0.0.1:50051";
  std::string worker_listen;  // Empty: unix:DATA/workers.sock
  std::string http = "127.0.0.1:9464";
  bool http_api = false;                // Beyond loopback, too.
  std::vector<std::string> http_hosts;  // Beside loopback's names and the address.
  bool insecure = false;
  bool reflection = false;
  std::string ready_file;

  int workers = 0;             // -1: auto, see LocalWorkersOptions
  std::string worker_program;  // Empty: graft-worker beside this program
  std::string engine;
  std::string device;

  int engine_threads = 0;  // 0: auto
  int64_t max_queued_jobs = 100'000;
  std::string on_job_end;  // Empty: none.
  double on_job_end_seconds = 60;
  double keep_checkpoints_days = 7;
  std::optional<double> keep_jobs_days;  // None: for ever.
  std::optional<double> quota_gb;        // None: what the disk has.
  int max_waiting_texts = 2048;
  int rpc_threads = 32;
  double heartbeat_seconds = 5;
  double lease_seconds = 60;
  double lease_margin_seconds = 5;
  double watch_heartbeat_seconds = 10;
  double drain_seconds = 10;
  double stop_seconds = 45;
  bool stop_workers = false;
  bool preemption = false;

  std::string log_level = "info";
  std::string log_file;
  bool log_json = false;
  std::string worker_log = "file";

  ServerCommand command = ServerCommand::kServe;
  bool stop_all = false;
  bool check_adopt = false;
  bool check_read = false;
  std::string backup_to;
  std::string restore_from;
  bool collect_dry_run = false;
};

// ${XDG_DATA_HOME:-~/.local/share}/graft
std::string DefaultDataDirectory();

// Declares the options above. `flags` must outlive the parsing.
void AddServerOptions(CLI::App& app, ServerFlags& flags);

// Fills in what follows from other flags and checks what CLI11 does not. INVALID_ARGUMENT names the
// flag; an address that is not of this machine alone needs --insecure.
absl::Status CompleteServerFlags(ServerFlags& flags);

}  // namespace graft
