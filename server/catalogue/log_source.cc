#include "server/catalogue/log_source.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "server/catalogue/file_chunks.h"

namespace graft {
namespace {

absl::Status CheckRequest(const v1::ReadJobLogRequest& request) {
  Violations violations;
  const bool known = request.stream() == v1::JOB_LOG_STREAM_ENGINE ||
                     request.stream() == v1::JOB_LOG_STREAM_WORKER;
  if (!known) violations.Add("stream", "must be JOB_LOG_STREAM_ENGINE or JOB_LOG_STREAM_WORKER");
  if (request.attempt() < 0) violations.Add("attempt", "must be 1 or greater, or 0 for the latest");
  return violations.ToStatus();
}

// The attempt that the request means. One that follows may come before the first.
absl::StatusOr<int32_t> AttemptOf(const v1::ReadJobLogRequest& request, const v1::Job& job) {
  const int32_t count = job.attempt();
  if (request.attempt() > count && count > 0) {
    return absl::NotFoundError(
        absl::StrCat(job.name(), " has had ", count, " attempts, not ", request.attempt()));
  }
  const int32_t attempt = request.attempt() > 0 ? request.attempt() : std::max(1, count);
  if (count > 0 || (request.follow() && !job.done() && attempt == 1)) return attempt;
  return absl::NotFoundError(absl::StrCat(job.name(), " has had no attempt, so it has no log"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<LogSource>> LogSource::Open(JobStore& store, JobLogs& logs,
                                                           const v1::ReadJobLogRequest& request,
                                                           std::shared_ptr<StreamWaker> waker) {
  RETURN_IF_ERROR(CheckRequest(request));
  ASSIGN_OR_RETURN(const std::string id, ParseJobId(request.name()));
  ASSIGN_OR_RETURN(const v1::Job job, store.GetJob(JobName(id)));
  ASSIGN_OR_RETURN(const int32_t attempt, AttemptOf(request, job));
  const JobLogKey key = {id, attempt, request.stream()};
  ASSIGN_OR_RETURN(const int64_t end, logs.End(key));
  RETURN_IF_ERROR(CheckOffset(request.offset_bytes(), end));
  std::unique_ptr<LogSource> source(
      new LogSource(store, logs, key, request.offset_bytes(), request.follow()));
  if (request.follow()) {
    source->growth_ = logs.Listen(id, [waker] { waker->Wake(); });
    source->changes_ =
        store.Subscribe(JobName(id), [waker = std::move(waker)](const JobChange& change) {
          if (change.deleted || change.state != change.previous_state) waker->Wake();
        });
  }
  return source;
}

absl::StatusOr<SourceState> LogSource::Next(v1::JobLogChunk* chunk) {
  ASSIGN_OR_RETURN(bool read, ReadNext(chunk));
  if (read) return SourceState::kMessage;
  if (!follow_) return SourceState::kEnd;
  ASSIGN_OR_RETURN(const bool over, IsAttemptOver());
  if (!over) return SourceState::kWait;
  // What was written between the look and the end.
  ASSIGN_OR_RETURN(read, ReadNext(chunk));
  return read ? SourceState::kMessage : SourceState::kEnd;
}

absl::StatusOr<bool> LogSource::ReadNext(v1::JobLogChunk* chunk) {
  ASSIGN_OR_RETURN(JobLogs::Piece piece, logs_.Read(key_, offset_, kLogChunkBytes));
  if (piece.bytes.empty()) return false;
  chunk->set_attempt(key_.attempt);
  chunk->set_offset_bytes(piece.offset);
  offset_ = piece.offset + static_cast<int64_t>(piece.bytes.size());
  chunk->set_data(std::move(piece.bytes));
  return true;
}

absl::StatusOr<bool> LogSource::IsAttemptOver() const {
  ASSIGN_OR_RETURN(const v1::Job job, store_.GetJob(JobName(key_.job_id)));
  for (const v1::Attempt& attempt : job.attempts()) {
    if (attempt.number() == key_.attempt) return attempt.has_end_time();
  }
  return job.done();
}

}  // namespace graft
