#include "common/telemetry/log.h"

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "spdlog/logger.h"
#include "spdlog/sinks/basic_file_sink.h"
#include "spdlog/sinks/stdout_sinks.h"

namespace graft {
namespace {

// Constant after StartLogging.
struct Sink {
  LogOptions options;
  std::shared_ptr<spdlog::logger> logger;
};

std::shared_ptr<spdlog::logger> MakeLogger(spdlog::sink_ptr output) {
  auto logger = std::make_shared<spdlog::logger>("graft", std::move(output));
  // The line is complete as it comes: see FormatLogLine.
  logger->set_pattern("%v");
  logger->flush_on(spdlog::level::info);
  return logger;
}

Sink& GlobalSink() {
  static Sink& sink = *new Sink{{}, MakeLogger(std::make_shared<spdlog::sinks::stderr_sink_mt>())};
  return sink;
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
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());
  sink.logger->info("{}", FormatLogLine(sink.options, level, time, job, message, fields));
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
  try {
    spdlog::sink_ptr output;
    if (options.file.empty()) {
      output = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      output = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file);
    }
    sink.logger = MakeLogger(std::move(output));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot log to ", options.file, ": ", error.what()));
  }
  sink.options = options;
  return absl::OkStatus();
}

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
