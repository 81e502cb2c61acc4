#include "common/telemetry/process_metrics.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <memory>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"

namespace graft {
namespace {

constexpr int64_t kMaxProcFileBytes = 1 << 20;

// Seconds since 1970 at which the machine started; 0 when that is not known.
int64_t BootTime() {
  const absl::StatusOr<std::string> text = ReadFile("/proc/stat", kMaxProcFileBytes);
  if (!text.ok()) return 0;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    int64_t seconds = 0;
    if (absl::ConsumePrefix(&line, "btime ") && absl::SimpleAtoi(line, &seconds)) return seconds;
  }
  return 0;
}

class ProcessMetrics {
 public:
  explicit ProcessMetrics(MetricRegistry& registry)
      : cpu_(registry.AddCounter("process_cpu_seconds_total",
                                 "CPU time of this process, user and system.")),
        resident_(registry.AddGauge("process_resident_memory_bytes", "Memory in RAM.")),
        virtual_(registry.AddGauge("process_virtual_memory_bytes", "Address space.")),
        open_fds_(registry.AddGauge("process_open_fds", "Open file descriptors.")),
        max_fds_(registry.AddGauge("process_max_fds", "File descriptors that it may open.")),
        start_time_(
            registry.AddGauge("process_start_time_seconds", "Its start, since 1970 (UTC).")),
        threads_(registry.AddGauge("process_threads", "Threads.")) {}

  // Scrapes run one at a time.
  void Refresh() {
    const absl::StatusOr<std::string> text = ReadFile("/proc/self/stat", kMaxProcFileBytes);
    const absl::StatusOr<ProcessStat> stat =
        text.ok() ? ParseProcessStat(*text) : absl::StatusOr<ProcessStat>(text.status());
    if (!stat.ok()) return;
    const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
    cpu_.Add({}, static_cast<double>(stat->cpu_ticks - counted_ticks_) / ticks);
    counted_ticks_ = stat->cpu_ticks;
    resident_.Set({}, static_cast<double>(stat->resident_pages * ::sysconf(_SC_PAGESIZE)));
    virtual_.Set({}, static_cast<double>(stat->virtual_bytes));
    threads_.Set({}, static_cast<double>(stat->threads));
    if (boot_time_ > 0) {
      start_time_.Set(
          {}, static_cast<double>(boot_time_) + static_cast<double>(stat->start_ticks) / ticks);
    }
    const auto fds = ListDirectory("/proc/self/fd");
    // One of them is the listing's own.
    if (fds.ok()) open_fds_.Set({}, static_cast<double>(fds->size()) - 1);
    rlimit limit = {};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
      max_fds_.Set({}, static_cast<double>(limit.rlim_cur));
    }
  }

 private:
  CounterFamily& cpu_;
  GaugeFamily& resident_;
  GaugeFamily& virtual_;
  GaugeFamily& open_fds_;
  GaugeFamily& max_fds_;
  GaugeFamily& start_time_;
  GaugeFamily& threads_;
  const int64_t boot_time_ = BootTime();
  int64_t counted_ticks_ = 0;
};

}  // namespace

absl::StatusOr<ProcessStat> ParseProcessStat(absl::string_view stat) {
  // The program's name stands in brackets and may hold any character.
  const size_t name_end = stat.rfind(") ");
  if (name_end == absl::string_view::npos) {
    return absl::InvalidArgumentError("no /proc/PID/stat: it has no program's name");
  }
  const std::vector<absl::string_view> fields = absl::StrSplit(stat.substr(name_end + 2), ' ');
  // proc(5) counts from 1, and the state after the name is its third.
  const auto field = [&fields](size_t number) {
    int64_t value = -1;
    return number - 3 < fields.size() && absl::SimpleAtoi(fields[number - 3], &value) ? value : -1;
  };
  ProcessStat parsed;
  parsed.cpu_ticks = field(14) + field(15);
  parsed.threads = field(20);
  parsed.start_ticks = field(22);
  parsed.virtual_bytes = field(23);
  parsed.resident_pages = field(24);
  if (field(14) < 0 || field(15) < 0 || parsed.threads < 0 || parsed.start_ticks < 0 ||
      parsed.virtual_bytes < 0 || parsed.resident_pages < 0) {
    return absl::InvalidArgumentError("no /proc/PID/stat: a field is missing or no number");
  }
  return parsed;
}

void ExposeProcess(MetricRegistry& registry, const std::string& version) {
  registry.AddGauge("graft_build_info", "1, with the version that runs.", {"version"})
      .Set({version}, 1);
  const auto process = std::make_shared<ProcessMetrics>(registry);
  registry.OnScrape([process] { process->Refresh(); });
}

void ExposeFilesystems(MetricRegistry& registry, std::vector<std::string> directories) {
  GaugeFamily& size = registry.AddGauge(
      "graft_filesystem_size_bytes", "Size of a file system that graft writes to.", {"directory"});
  GaugeFamily& free = registry.AddGauge("graft_filesystem_free_bytes",
                                        "What graft may still write there.", {"directory"});
  registry.OnScrape([directories = std::move(directories), &size, &free] {
    size.Clear();
    free.Clear();
    std::set<dev_t> shown;
    for (const std::string& directory : directories) {
      struct stat status = {};
      struct statvfs filesystem = {};
      if (::stat(directory.c_str(), &status) != 0 || !shown.insert(status.st_dev).second ||
          ::statvfs(directory.c_str(), &filesystem) != 0) {
        continue;
      }
      const auto block = static_cast<double>(filesystem.f_frsize);
      size.Set({directory}, block * static_cast<double>(filesystem.f_blocks));
      free.Set({directory}, block * static_cast<double>(filesystem.f_bavail));
    }
  });
}

}  // namespace graft
