#pragma once

// What the calls of one listener may hold at once. Users' calls and workers' calls share nothing of
// it: whatever users do, workers are heard, and the other way round.

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace graft {

// Streams that are open at once.
inline constexpr size_t kMaxUserStreams = 4096;
inline constexpr size_t kMaxWorkerStreams = 1024;
// Of one peer, that is of one connection.
inline constexpr size_t kMaxStreamsOfPeer = 512;
// The last of kMaxUserStreams are for those who have few: a newcomer finds room beside any crowd.
inline constexpr size_t kReservedUserStreams = 512;
inline constexpr size_t kFewStreams = 8;
// Requests and messages that have come and are not yet worked off, 256 MiB in all.
inline constexpr int64_t kMaxUserBufferBytes = int64_t{192} << 20;
inline constexpr int64_t kMaxWorkerBufferBytes = int64_t{64} << 20;
// An upload of which nothing comes for so long ends.
inline constexpr absl::Duration kUploadIdleLimit = absl::Seconds(60);
// Calls that wait for a thread.
inline constexpr size_t kMaxQueuedCalls = 1000;
// Calls of one connection that gRPC lets in at all; further ones wait at the caller.
inline constexpr int kMaxCallsOfConnection = 1024;
// A user's connection without a call is closed after that; he connects again by himself. A worker's
// always has one.
inline constexpr absl::Duration kConnectionIdleLimit = absl::Minutes(10);

// Threads of each lane (call.h) of each listener; those of users' short calls are --rpc-threads.
inline constexpr int kShortThreads = 16;
inline constexpr int kUrgentThreads = 2;
inline constexpr int kBulkThreads = 4;
inline constexpr int kLongThreads = 4;
inline constexpr int kCheckThreads = 4;
inline constexpr int kPlanThreads = 3;
inline constexpr int kMaxMeasured = 2;  // Of which so many may wait for a worker.

struct AdmissionLimits {
  const char* whose = "users";  // For messages.
  size_t max_streams = kMaxUserStreams;
  size_t max_streams_of_peer = kMaxStreamsOfPeer;
  size_t reserved_streams = kReservedUserStreams;
  size_t few_streams = kFewStreams;
  int64_t max_buffer_bytes = kMaxUserBufferBytes;
  absl::Duration upload_idle = kUploadIdleLimit;
  absl::Duration connection_idle = kConnectionIdleLimit;  // Users' only.
};

// Workers are trusted to be fair to one another, and behind a Unix socket all look alike.
AdmissionLimits WorkerLimits();

// The counts. Refusals are RESOURCE_EXHAUSTED with RetryInfo and say which bound it was.
// Thread-safe.
class Admission {
 public:
  explicit Admission(const AdmissionLimits& limits) : limits_(limits) {}

  // One that was admitted is ended by EndStream.
  absl::Status BeginStream(const std::string& peer);
  void EndStream(const std::string& peer);

  // What was taken is returned by ReturnBytes.
  absl::Status TakeBytes(int64_t bytes);
  void ReturnBytes(int64_t bytes);

  const AdmissionLimits& limits() const { return limits_; }

 private:
  const AdmissionLimits limits_;
  Mutex mutex_;
  size_t streams_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, size_t> streams_of_peer_ ABSL_GUARDED_BY(mutex_);  // None is 0.
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace graft
