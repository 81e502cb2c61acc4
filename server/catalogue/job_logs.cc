#include "server/catalogue/job_logs.h"

#include <fcntl.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

// "engine." of the files' names.
std::string PrefixOf(v1::JobLogStream stream) {
  return stream == v1::JOB_LOG_STREAM_ENGINE ? "engine." : "worker.";
}

// Bytes of all files below a directory of attempts' directories; 0 when there is none.
int64_t BytesBelow(const std::string& directory) {
  int64_t bytes = 0;
  for (const std::string& name : ListDirectory(directory).value_or(std::vector<std::string>())) {
    bytes += FileSize(JoinPath(directory, name)).value_or(0);
  }
  return bytes;
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobLogs>> JobLogs::Open(std::string root,
                                                       const JobLogLimits& limits) {
  RETURN_IF_ERROR(CreateDirectories(root));
  return std::unique_ptr<JobLogs>(new JobLogs(std::move(root), limits));
}

std::string JobLogs::DirectoryOf(const std::string& job_id, int32_t attempt) const {
  return JoinPath(JoinPath(root_, job_id), absl::StrCat(attempt));
}

absl::StatusOr<std::vector<JobLogs::File>> JobLogs::FilesOf(const JobLogKey& key) const {
  const std::string directory = DirectoryOf(key.job_id, key.attempt);
  const std::string prefix = PrefixOf(key.stream);
  std::vector<File> files;
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory(directory);
  if (absl::IsNotFound(names.status())) return files;
  RETURN_IF_ERROR(names.status());
  for (const std::string& name : *names) {  // Sorted, and so by offset.
    absl::string_view number = name;
    File file;
    if (!absl::ConsumePrefix(&number, prefix) || !absl::SimpleAtoi(number, &file.begin)) continue;
    file.path = JoinPath(directory, name);
    ASSIGN_OR_RETURN(const int64_t size, FileSize(file.path));
    file.end = file.begin + size;
    files.push_back(std::move(file));
  }
  return files;
}

absl::StatusOr<int64_t> JobLogs::Append(const JobLogKey& key, int64_t offset,
                                        absl::string_view bytes) {
  int64_t end = 0;
  {
    MutexLock lock(mutex_);
    ASSIGN_OR_RETURN(std::vector<File> files, FilesOf(key));
    const int64_t before = files.empty() ? 0 : files.back().end;
    const int64_t known = std::max<int64_t>(0, before - offset);
    if (known >= static_cast<int64_t>(bytes.size())) return before;
    bytes.remove_prefix(known);
    RETURN_IF_ERROR(AppendLocked(key, offset + known, bytes, files));
    RETURN_IF_ERROR(DropMiddle(files));
    RETURN_IF_ERROR(DropOldAttempts(key.job_id, key.attempt));
    end = files.back().end;
  }
  MutexLock lock(listeners_mutex_);
  for (const Listener& listener : listeners_) {
    if (listener.first == key.job_id) listener.second();
  }
  return end;
}

absl::Status JobLogs::AppendLocked(const JobLogKey& key, int64_t offset, absl::string_view bytes,
                                   std::vector<File>& files) {
  const std::string directory = DirectoryOf(key.job_id, key.attempt);
  if (files.empty()) RETURN_IF_ERROR(CreateDirectories(directory));
  while (!bytes.empty()) {
    const bool full = files.empty() || files.back().end - files.back().begin >= limits_.piece_bytes;
    if (full || files.back().end != offset) {
      const std::string name = absl::StrFormat("%s%012d", PrefixOf(key.stream), offset);
      files.push_back({offset, offset, JoinPath(directory, name)});
    }
    File& file = files.back();
    const int64_t room = limits_.piece_bytes - (file.end - file.begin);
    const absl::string_view part = bytes.substr(0, room);
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(file.path, O_WRONLY | O_CREAT | O_APPEND));
    RETURN_IF_ERROR(WriteAll(fd.get(), part, file.path));
    bytes.remove_prefix(part.size());
    offset += static_cast<int64_t>(part.size());
    file.end = offset;
  }
  return absl::OkStatus();
}

absl::Status JobLogs::DropMiddle(const std::vector<File>& files) {
  const int64_t tail = files.back().end - limits_.tail_bytes;
  for (const File& file : files) {
    if (file.begin >= limits_.head_bytes && file.end <= tail) {
      RETURN_IF_ERROR(RemoveFile(file.path));
    }
  }
  return absl::OkStatus();
}

absl::Status JobLogs::DropOldAttempts(const std::string& job_id, int32_t attempt) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(JoinPath(root_, job_id)));
  std::vector<int32_t> attempts;
  for (const std::string& name : names) {
    int32_t number = 0;
    if (absl::SimpleAtoi(name, &number)) attempts.push_back(number);
  }
  std::sort(attempts.begin(), attempts.end());
  int64_t bytes = 0;
  for (const int32_t number : attempts) bytes += BytesBelow(DirectoryOf(job_id, number));
  for (const int32_t number : attempts) {
    if (bytes <= limits_.job_bytes || number >= attempt) break;
    bytes -= BytesBelow(DirectoryOf(job_id, number));
    RETURN_IF_ERROR(RemoveTree(DirectoryOf(job_id, number)));
  }
  return absl::OkStatus();
}

absl::StatusOr<JobLogs::Piece> JobLogs::Read(const JobLogKey& key, int64_t offset,
                                             int64_t max_bytes) const {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const std::vector<File> files, FilesOf(key));
  Piece piece{offset, ""};
  for (const File& file : files) {
    if (file.end <= offset) continue;
    piece.offset = std::max(offset, file.begin);
    piece.bytes.resize(std::min(max_bytes, file.end - piece.offset));
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(file.path, O_RDONLY));
    ASSIGN_OR_RETURN(const size_t count,
                     ReadAt(fd.get(), piece.offset - file.begin,
                            absl::MakeSpan(piece.bytes.data(), piece.bytes.size()), file.path));
    piece.bytes.resize(count);
    break;
  }
  return piece;
}

absl::StatusOr<int64_t> JobLogs::End(const JobLogKey& key) const {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const std::vector<File> files, FilesOf(key));
  return files.empty() ? 0 : files.back().end;
}

std::shared_ptr<void> JobLogs::Listen(const std::string& job_id, std::function<void()> on_growth) {
  MutexLock lock(listeners_mutex_);
  listeners_.emplace_front(job_id, std::move(on_growth));
  return {nullptr, [this, place = listeners_.begin()](void*) {
            MutexLock lock(listeners_mutex_);
            listeners_.erase(place);
          }};
}

absl::Status JobLogs::Delete(const std::string& job_id) {
  MutexLock lock(mutex_);
  return RemoveTree(JoinPath(root_, job_id));
}

absl::StatusOr<std::vector<std::string>> JobLogs::JobIds() const { return ListDirectory(root_); }

}  // namespace graft
