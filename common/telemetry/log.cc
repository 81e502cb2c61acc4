#include "common/telemetry/log.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "spdlog/logger.h"
#include "spdlog/sinks/basic_file_sink.h"
#include "spdlog/sinks/rotating_file_sink.h"
#include "spdlog/sinks/stdout_sinks.h"

namespace graft {

class JobLogTaps {
 public:
  static JobLogTaps& Get() {
    static JobLogTaps& taps = *new JobLogTaps;
    return taps;
  }
  void Add(JobLogTap* tap) {
    MutexLock lock(mutex_);
    taps_.push_back(tap);
  }
  void Remove(JobLogTap* tap) {
    MutexLock lock(mutex_);
    taps_.erase(std::remove(taps_.begin(), taps_.end(), tap), taps_.end());
  }
  void Hand(absl::string_view job, absl::string_view line) {
    MutexLock lock(mutex_);
    for (const JobLogTap* tap : taps_) {
      if (tap->job_ == job) tap->on_line_(line);
    }
  }

 private:
  Mutex mutex_;
  std::vector<JobLogTap*> taps_ ABSL_GUARDED_BY(mutex_);  // A few: one for each running attempt.
};

namespace {

struct Sink {
  LogOptions options;  // Constant after StartLogging.
  Mutex mutex;
  std::shared_ptr<spdlog::logger> logger ABSL_GUARDED_BY(mutex);
};

std::shared_ptr<spdlog::logger> MakeLogger(spdlog::sink_ptr output) {
  auto logger = std::make_shared<spdlog::logger>("graft", std::move(output));
  // The line is complete as it comes: see FormatLogLine.
  logger->set_pattern("%v");
  logger->flush_on(spdlog::level::info);
  return logger;
}

Sink& GlobalSink() {
  static Sink& sink =
      *new Sink{{}, {}, MakeLogger(std::make_shared<spdlog::sinks::stderr_sink_mt>())};
  return sink;
}

absl::StatusOr<std::shared_ptr<spdlog::logger>> OpenLogger(const LogOptions& options) {
  try {
    if (options.file.empty()) {
      return MakeLogger(std::make_shared<spdlog::sinks::stderr_sink_mt>());
    }
    if (options.rotate_bytes > 0) {
      return MakeLogger(std::make_shared<spdlog::sinks::rotating_file_sink_mt>(
          options.file, options.rotate_bytes, kKeptLogFiles));
    }
    return MakeLogger(std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot log to ", options.file, ": ", error.what()));
  }
}

absl::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

std::string EscapeControls(absl::string_view text) {
  std::string escaped;
  escaped.reserve(text.size());
  for (const char c : text) {
    if (c == '\n') {
      escaped += "\\n";
    } else if (absl::ascii_iscntrl(c)) {
      absl::StrAppendFormat(&escaped, "\\x%02x", static_cast<unsigned char>(c));
    } else {
      escaped += c;
    }
  }
  return escaped;
}

// Quoted when a reader could not tell where it ends.
std::string Value(absl::string_view text) {
  const std::string escaped = EscapeControls(text);
  const bool plain = !escaped.empty() && escaped.find_first_of(" \"=") == std::string::npos;
  if (plain) return escaped;
  std::string quoted = "\"";
  for (const char c : escaped) {
    if (c == '"') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

std::string JsonLine(const LogOptions& options, LogLevel level, absl::string_view time,
                     absl::string_view job, absl::string_view message,
                     std::initializer_list<LogField> fields) {
  nlohmann::ordered_json line;
  line["time"] = std::string(time);
  line["level"] = std::string(LevelName(level));
  line["program"] = options.program;
  if (!job.empty()) line["job"] = std::string(job);
  line["message"] = std::string(message);
  for (const LogField& field : fields) {
    if (!field.second.empty()) line[std::string(field.first)] = field.second;
  }
  // Broken UTF-8 in a value must not cost the line.
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void Write(LogLevel level, absl::string_view job, absl::string_view message,
           std::initializer_list<LogField> fields) {
  Sink& sink = GlobalSink();
  if (level < sink.options.level) return;
  const std::string time =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", Clock::Real().Now(), absl::UTCTimeZone());
  const std::string line = FormatLogLine(sink.options, level, time, job, message, fields);
  std::shared_ptr<spdlog::logger> logger;
  {
    MutexLock lock(sink.mutex);
    logger = sink.logger;
  }
  logger->info("{}", line);
  if (!job.empty()) JobLogTaps::Get().Hand(job, line + "\n");
}

}  // namespace

std::string FormatLogLine(const LogOptions& options, LogLevel level, absl::string_view time,
                          absl::string_view job, absl::string_view message,
                          std::initializer_list<LogField> fields) {
  if (options.json) return JsonLine(options, level, time, job, message, fields);
  const char letter = absl::ascii_toupper(LevelName(level)[0]);
  std::string line = absl::StrCat(time, " ", std::string(1, letter), " ", options.program);
  if (!job.empty()) absl::StrAppend(&line, " job=", Value(job));
  absl::StrAppend(&line, " ", EscapeControls(message));
  for (const LogField& field : fields) {
    if (field.second.empty()) continue;
    absl::StrAppend(&line, " ", field.first, "=", Value(field.second));
  }
  return line;
}

absl::Status StartLogging(const LogOptions& options) {
  Sink& sink = GlobalSink();
  ASSIGN_OR_RETURN(std::shared_ptr<spdlog::logger> logger, OpenLogger(options));
  MutexLock lock(sink.mutex);
  sink.logger = std::move(logger);
  sink.options = options;
  return absl::OkStatus();
}

absl::Status ReopenLog() {
  Sink& sink = GlobalSink();
  if (sink.options.file.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::shared_ptr<spdlog::logger> logger, OpenLogger(sink.options));
  MutexLock lock(sink.mutex);
  sink.logger = std::move(logger);
  return absl::OkStatus();
}

JobLogTap::JobLogTap(std::string job, std::function<void(absl::string_view line)> on_line)
    : job_(std::move(job)), on_line_(std::move(on_line)) {
  JobLogTaps::Get().Add(this);
}

JobLogTap::~JobLogTap() { JobLogTaps::Get().Remove(this); }

absl::Status ParseLogLevel(absl::string_view name, LogLevel* level) {
  for (const LogLevel candidate :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    if (name == LevelName(candidate)) {
      *level = candidate;
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", name, "\" is no log level: debug, info, warning or error"));
}

void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields) {
  Write(level, "", message, fields);
}

void LogJob(LogLevel level, absl::string_view job, absl::string_view message,
            std::initializer_list<LogField> fields) {
  Write(level, job, message, fields);
}

}  // namespace graft
