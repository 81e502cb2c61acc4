#include "client/cli/log_printer.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/cli/output.h"

namespace graft {

void LogPrinter::Add(v1::JobLogStream stream, const v1::JobLogChunk& chunk) {
  MutexLock lock(mutex_);
  Log& log = logs_[stream];
  if (log.attempt != chunk.attempt()) log = {chunk.attempt(), 0, ""};
  std::string lines;
  if (chunk.offset_bytes() > log.offset) {
    if (!log.line.empty()) absl::StrAppend(&lines, log.line, "\n");
    log.line.clear();
    absl::StrAppend(&lines, "[", FormatCount(chunk.offset_bytes() - log.offset),
                    " bytes were not kept]\n");
  }
  log.offset = chunk.offset_bytes() + static_cast<int64_t>(chunk.data().size());
  log.line += chunk.data();
  const size_t end = log.line.rfind('\n');
  if (end != std::string::npos) {
    lines += log.line.substr(0, end + 1);
    log.line.erase(0, end + 1);
  }
  if (!lines.empty()) Write(stream, chunk.attempt(), std::move(lines));
}

void LogPrinter::End(v1::JobLogStream stream) {
  MutexLock lock(mutex_);
  Log& log = logs_[stream];
  if (!log.line.empty()) Write(stream, log.attempt, log.line + "\n");
  log.line.clear();
}

void LogPrinter::Say(absl::string_view line) {
  MutexLock lock(mutex_);
  write_(Shown(absl::StrCat(line, "\n")));
}

bool LogPrinter::empty() const {
  MutexLock lock(mutex_);
  return empty_;
}

void LogPrinter::Write(v1::JobLogStream stream, int32_t attempt, std::string lines) {
  empty_ = false;
  const char* const name = stream == v1::JOB_LOG_STREAM_ENGINE ? "engine" : "worker";
  const std::string header = absl::StrCat("==> attempt ", attempt, ", ", name, " <==\n");
  if (headers_ && header != last_header_) write_(header);
  last_header_ = header;
  write_(Shown(std::move(lines)));
}

std::string LogPrinter::Shown(std::string lines) const {
  if (!clean_) return lines;
  for (char& byte : lines) {
    if (absl::ascii_iscntrl(byte) && byte != '\n' && byte != '\t') byte = '?';
  }
  return lines;
}

}  // namespace graft
