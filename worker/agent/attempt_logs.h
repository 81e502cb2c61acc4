#pragma once

// The logs of a running attempt, on their way to the server: what its engine writes to the file
// that is its standard output and error, and what this process logs about the job.

#include <cstdint>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "common/telemetry/log.h"
#include "graft/v1/job.pb.h"
#include "worker/agent/server_link.h"

namespace graft {

// One for an attempt; owns one thread, which looks for news every `interval`. Nothing waits for it:
// what the server does not take is tried again at the next look, and what it refuses for good (the
// job is gone) ends it.
class AttemptLogs {
 public:
  static constexpr absl::Duration kInterval = absl::Milliseconds(500);
  static constexpr size_t kChunkBytes = 256 << 10;
  // Of this process's own lines that the server has not taken; the oldest go.
  static constexpr size_t kMaxWaitingBytes = 1 << 20;
  // Of the engine's file that the server has not taken: beyond it the oldest are passed over.
  static constexpr int64_t kMaxEngineBacklogBytes = int64_t{64} << 20;
  // The end of the engine's file that stays on the disk when all of it was taken: its last words.
  static constexpr int64_t kKeptEngineBytes = 64 << 10;

  // `engine_log` need not be there yet.
  AttemptLogs(ServerLink& link, std::string job, int32_t attempt, std::string engine_log,
              absl::Duration interval = kInterval);
  // Sends what is left, in one try.
  ~AttemptLogs();

  // Sends what there is now, in one try; before the attempt's end is told, so that whoever hears of
  // that finds the reason.
  void Flush() ABSL_LOCKS_EXCLUDED(sending_);

 private:
  void Run();
  // False: the server is away, or refuses.
  bool SendEngineLog() ABSL_EXCLUSIVE_LOCKS_REQUIRED(sending_);
  bool SendWorkerLog() ABSL_EXCLUSIVE_LOCKS_REQUIRED(sending_);
  bool Send(v1::JobLogStream stream, int64_t offset, std::string data)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(sending_);
  // Gives the disk what was taken back, but for the end.
  void Trim(int fd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(sending_);
  void AddLine(absl::string_view line) ABSL_LOCKS_EXCLUDED(lines_mutex_);

  ServerLink& link_;
  const std::string job_;
  const int32_t attempt_;
  const std::string engine_log_;
  const absl::Duration interval_;

  Mutex lines_mutex_;
  std::string lines_ ABSL_GUARDED_BY(lines_mutex_);        // Not yet sent.
  int64_t lines_begin_ ABSL_GUARDED_BY(lines_mutex_) = 0;  // Offset of their first byte.

  Mutex sending_;  // One sends at a time.
  int64_t engine_sent_ ABSL_GUARDED_BY(sending_) = 0;
  bool refused_ ABSL_GUARDED_BY(sending_) = false;

  StopSignal stop_;
  const JobLogTap tap_;
  std::thread thread_;
};

// The end of a log for an error's text: at most `max_bytes`, whole characters, well-formed; empty
// where there is none.
std::string LogTail(const std::string& path, int64_t max_bytes);

}  // namespace graft
