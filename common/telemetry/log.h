#pragma once

// Logs: one line a record, structured, on standard error or in a file.
//
//   2026-01-31T12:00:00.123Z I server job=jobs/abc state change from=RUNNING to=SUCCEEDED
//   {"time":"2026-01-31T12:00:00.123Z","level":"info","program":"server","job":"jobs/abc","message":"state
//   change","from":"RUNNING",…}
//
// Every line that concerns a job carries its name: Log(Severity, job, message, fields). Never
// called from a torch file (LibTorch bundles another fmt; this header includes neither).

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
};

// Must be called once, before threads start; until then logs go to standard error as text. The
// codes of opening a file.
absl::Status StartLogging(const LogOptions& options);
// "debug", "info", "warning", "error"; INVALID_ARGUMENT otherwise.
absl::Status ParseLogLevel(absl::string_view name, LogLevel* level);

// A further value of a line; an empty one is left out.
using LogField = std::pair<absl::string_view, std::string>;

// Writes one line; control characters in it are escaped, so that no value can begin another line.
// Thread-safe.
void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields = {});
void LogJob(LogLevel level, absl::string_view job, absl::string_view message,
            std::initializer_list<LogField> fields = {});

// The line as it is written, without its time: for tests.
std::string FormatLogLine(const LogOptions& options, LogLevel level, absl::string_view time,
                          absl::string_view job, absl::string_view message,
                          std::initializer_list<LogField> fields);

}  // namespace graft
