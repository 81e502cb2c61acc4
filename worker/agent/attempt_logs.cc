#include "worker/agent/attempt_logs.h"

#include <fcntl.h>
#include <pthread.h>

#include <algorithm>
#include <utility>

#include "common/base/file.h"
#include "common/base/utf8.h"

namespace graft {

AttemptLogs::AttemptLogs(ServerLink& link, std::string job, int32_t attempt, std::string engine_log,
                         absl::Duration interval)
    : link_(link),
      job_(std::move(job)),
      attempt_(attempt),
      engine_log_(std::move(engine_log)),
      interval_(interval),
      tap_(job_, [this](absl::string_view line) { AddLine(line); }),
      thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "attempt-logs");
}

AttemptLogs::~AttemptLogs() {
  stop_.Stop();
  thread_.join();
  Flush();
}

void AttemptLogs::Run() {
  while (!stop_.WaitFor(interval_)) Flush();
}

void AttemptLogs::Flush() {
  MutexLock lock(sending_);
  if (!refused_ && SendWorkerLog()) SendEngineLog();
}

void AttemptLogs::AddLine(absl::string_view line) {
  MutexLock lock(lines_mutex_);
  lines_.append(line.data(), line.size());
  if (lines_.size() <= kMaxWaitingBytes) return;
  const size_t lost = lines_.size() - kMaxWaitingBytes;
  lines_.erase(0, lost);
  lines_begin_ += static_cast<int64_t>(lost);
}

bool AttemptLogs::SendWorkerLog() {
  for (;;) {
    int64_t begin;
    std::string data;
    {
      MutexLock lock(lines_mutex_);
      begin = lines_begin_;
      data = lines_.substr(0, kChunkBytes);
    }
    if (data.empty()) return true;
    const int64_t end = begin + static_cast<int64_t>(data.size());
    if (!Send(v1::JOB_LOG_STREAM_WORKER, begin, std::move(data))) return false;
    MutexLock lock(lines_mutex_);
    lines_.erase(0, std::max<int64_t>(0, end - lines_begin_));
    lines_begin_ = std::max(lines_begin_, end);
  }
}

bool AttemptLogs::SendEngineLog() {
  const absl::StatusOr<UniqueFd> file = OpenFile(engine_log_, O_RDWR);
  const absl::StatusOr<int64_t> size = FileSize(engine_log_);
  if (!file.ok() || !size.ok()) return true;
  if (*size - engine_sent_ > kMaxEngineBacklogBytes) engine_sent_ = *size - kMaxEngineBacklogBytes;
  for (;;) {
    std::string data(kChunkBytes, '\0');
    const auto count =
        ReadAt(file->get(), engine_sent_, absl::MakeSpan(data.data(), data.size()), engine_log_);
    data.resize(count.value_or(0));
    if (data.empty()) break;
    const int64_t end = engine_sent_ + static_cast<int64_t>(data.size());
    if (!Send(v1::JOB_LOG_STREAM_ENGINE, engine_sent_, std::move(data))) return false;
    engine_sent_ = end;
  }
  Trim(file->get());
  return true;
}

void AttemptLogs::Trim(int fd) {
  const int64_t length = engine_sent_ - kKeptEngineBytes;
  if (length <= 0) return;
  // The file keeps its size, and offsets their meaning. Where a file system cannot, it grows.
  (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, length);
}

bool AttemptLogs::Send(v1::JobLogStream stream, int64_t offset, std::string data) {
  worker::v1::AppendLogRequest request;
  request.set_job(job_);
  request.set_attempt(attempt_);
  request.set_stream(stream);
  request.set_offset_bytes(offset);
  request.set_data(std::move(data));
  const absl::Status sent = link_.AppendLog(std::move(request));
  refused_ = absl::IsNotFound(sent) || absl::IsFailedPrecondition(sent) ||
             absl::IsUnimplemented(sent) || absl::IsInvalidArgument(sent);
  return sent.ok();
}

std::string LogTail(const std::string& path, int64_t max_bytes) {
  const absl::StatusOr<UniqueFd> file = OpenFile(path, O_RDONLY);
  const absl::StatusOr<int64_t> size = FileSize(path);
  if (!file.ok() || !size.ok()) return "";
  const int64_t start = std::max<int64_t>(0, *size - max_bytes);
  std::string tail(*size - start, '\0');
  const auto count = ReadAt(file->get(), start, absl::MakeSpan(tail.data(), tail.size()), path);
  tail.resize(count.value_or(0));
  if (start > 0) {  // It may begin inside a character.
    const auto first = std::find_if(tail.begin(), tail.end(), [](char byte) {
      return (static_cast<unsigned char>(byte) & 0xc0) != 0x80;
    });
    tail.erase(tail.begin(), first);
  }
  return ToValidUtf8(tail);
}

}  // namespace graft
