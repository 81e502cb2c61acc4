#pragma once

// What a program says of itself and of the disks that it writes to, read at each scrape.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/telemetry/metrics.h"

namespace graft {

// Adds graft_build_info{version} and the process_… metrics under the names that Prometheus' own
// client libraries give them. Before the registry is exposed.
void ExposeProcess(MetricRegistry& registry, const std::string& version);

// Adds graft_filesystem_size_bytes and graft_filesystem_free_bytes of the file systems that hold
// `directories`: each file system once, under the first of its directories. One that cannot be
// asked is left out. Before the registry is exposed.
void ExposeFilesystems(MetricRegistry& registry, std::vector<std::string> directories);

// The fields of /proc/PID/stat (proc(5)) that are shown; times in clock ticks.
struct ProcessStat {
  int64_t cpu_ticks = 0;  // User and system.
  int64_t threads = 0;
  int64_t start_ticks = 0;  // Since boot.
  int64_t virtual_bytes = 0;
  int64_t resident_pages = 0;
};
// INVALID_ARGUMENT: it is none.
absl::StatusOr<ProcessStat> ParseProcessStat(absl::string_view stat);

}  // namespace graft
