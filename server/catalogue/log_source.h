#pragma once

#include <atomic>
#include <memory>

#include "graft/v1/job.pb.h"
#include "server/catalogue/job_logs.h"
#include "server/store/job_store.h"
#include "server/streams/message_stream.h"

namespace graft {

// Bytes in one message of a log: what a stream that is not read costs.
inline constexpr int64_t kLogChunkBytes = 128 * 1024;

// What one reader of an attempt's log is sent: what there is and, if he follows it, what comes,
// until the attempt is over.
class LogSource : public MessageSource<v1::JobLogChunk> {
 public:
  // NOT_FOUND: no such job or attempt; INVALID_ARGUMENT: the stream or an offset below 0;
  // OUT_OF_RANGE: an offset beyond the log's end. `store` and `logs` outlive it.
  static absl::StatusOr<std::unique_ptr<LogSource>> Open(JobStore& store, JobLogs& logs,
                                                         const v1::ReadJobLogRequest& request,
                                                         std::shared_ptr<StreamWaker> waker);

  absl::StatusOr<SourceState> Next(v1::JobLogChunk* chunk) override;

 private:
  LogSource(JobStore& store, JobLogs& logs, JobLogKey key, int64_t offset, bool follow)
      : store_(store), logs_(logs), key_(std::move(key)), offset_(offset), follow_(follow) {}
  // Reads the next bytes into `chunk`; false: there are none now.
  absl::StatusOr<bool> ReadNext(v1::JobLogChunk* chunk);
  absl::StatusOr<bool> IsAttemptOver() const;

  JobStore& store_;
  JobLogs& logs_;
  const JobLogKey key_;
  int64_t offset_;  // Sent, or known to be missing, up to here.
  const bool follow_;
  std::shared_ptr<void> growth_;
  std::unique_ptr<Subscription> changes_;
};

}  // namespace graft
