#pragma once

// How logs look on standard output: whole lines, of several logs at once.

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "common/base/mutex.h"
#include "graft/v1/job.pb.h"

namespace graft {

// Thread-safe; `write` is called under a lock.
class LogPrinter {
 public:
  // With `headers` lines of another log than the last one's come after "==> attempt 2, engine <==".
  // With `clean`, what a terminal would take for a command (but tabs) is shown as '?'.
  LogPrinter(std::function<void(absl::string_view)> write, bool headers, bool clean)
      : write_(std::move(write)), headers_(headers), clean_(clean) {}

  // Writes the lines that the chunk ends; where bytes before it were not kept, says how many.
  void Add(v1::JobLogStream stream, const v1::JobLogChunk& chunk) ABSL_LOCKS_EXCLUDED(mutex_);
  // The log is over: writes what is left of it, as a line.
  void End(v1::JobLogStream stream) ABSL_LOCKS_EXCLUDED(mutex_);
  // A line of our own.
  void Say(absl::string_view line) ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether any log had anything.
  bool empty() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Log {
    int32_t attempt = 0;
    int64_t offset = 0;  // Of the next byte.
    std::string line;    // That has not ended.
  };
  std::string Shown(std::string lines) const;
  void Write(v1::JobLogStream stream, int32_t attempt, std::string lines)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::function<void(absl::string_view)> write_;
  const bool headers_;
  const bool clean_;
  mutable Mutex mutex_;
  std::map<v1::JobLogStream, Log> logs_ ABSL_GUARDED_BY(mutex_);
  std::string last_header_ ABSL_GUARDED_BY(mutex_);
  bool empty_ ABSL_GUARDED_BY(mutex_) = true;
};

}  // namespace graft
