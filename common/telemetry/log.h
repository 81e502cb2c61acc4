#pragma once

// Logs: one line a record, structured, on standard error or in a file.
//
//   2026-01-31T12:00:00.123Z I server job=jobs/abc state change from=RUNNING to=SUCCEEDED
//   {"time":"2026-01-31T12:00:00.123Z","level":"info","program":"server","job":"jobs/abc","message":"state
//   change","from":"RUNNING",…}
//
// Every line that concerns a job carries its name: LogJob(level, job, message, fields). Never
// called from a torch file (LibTorch bundles another fmt; this header includes neither).

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace graft {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

struct LogOptions {
  std::string program;               // "server", "worker".
  LogLevel level = LogLevel::kInfo;  // Lesser ones are dropped.
  bool json = false;
  std::string file;  // Empty: standard error.
  // A file of this many bytes is closed and kept as one of kKeptLogFiles (worker.log becomes
  // worker.1.log, that worker.2.log, …; the oldest goes). 0: it grows.
  int64_t rotate_bytes = 0;
};
inline constexpr int kKeptLogFiles = 4;  // Beside the one that is written.
inline constexpr int64_t kLogFileBytes = 10 << 20;

// Must be called once, before threads start; until then logs go to standard error as text. The
// codes of opening a file.
absl::Status StartLogging(const LogOptions& options);
// Opens the file of StartLogging anew by its name, for whoever moved it away (logrotate); nothing
// happens without one. An error leaves the log where it was.
absl::Status ReopenLog();
// "debug", "info", "warning", "error"; INVALID_ARGUMENT otherwise.
absl::Status ParseLogLevel(absl::string_view name, LogLevel* level);

// A further value of a line; an empty one is left out.
using LogField = std::pair<absl::string_view, std::string>;

// Writes one line; control characters in it are escaped, so that no value can begin another line.
// Thread-safe.
void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields = {});
void LogJob(LogLevel level, absl::string_view job, absl::string_view message,
            std::initializer_list<LogField> fields = {});

// While it lives it is handed every line that this process logs about `job` (those that the level
// lets through), whole, with its line end; on the logging thread, under a lock: `on_line` must be
// quick and may not log.
class JobLogTap {
 public:
  JobLogTap(std::string job, std::function<void(absl::string_view line)> on_line);
  ~JobLogTap();
  JobLogTap(const JobLogTap&) = delete;
  JobLogTap& operator=(const JobLogTap&) = delete;

 private:
  friend class JobLogTaps;
  const std::string job_;
  const std::function<void(absl::string_view line)> on_line_;
};

// The line as it is written, without its time: for tests.
std::string FormatLogLine(const LogOptions& options, LogLevel level, absl::string_view time,
                          absl::string_view job, absl::string_view message,
                          std::initializer_list<LogField> fields);

}  // namespace graft
