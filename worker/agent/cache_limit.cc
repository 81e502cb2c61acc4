#include "worker/agent/cache_limit.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace graft {

namespace {

int64_t StampOf(const struct stat& facts) {
  return static_cast<int64_t>(facts.st_mtim.tv_sec) * 1'000'000'000 + facts.st_mtim.tv_nsec;
}

// Nothing: it is gone.
std::optional<int64_t> StampOf(const std::string& path) {
  struct stat facts;
  if (lstat(path.c_str(), &facts) != 0) return std::nullopt;
  return StampOf(facts);
}

}  // namespace

CacheLimit::CacheLimit(std::string directory, Clock& clock)
    : directory_(std::move(directory)), clock_(clock) {
  MutexLock lock(mutex_);
  Look(-absl::InfiniteDuration()).IgnoreError();  // The next look says what is wrong.
}

absl::Status CacheLimit::Look(absl::Duration now) {
  std::map<std::string, CachedFile> found;
  std::error_code error;
  auto entry = std::filesystem::recursive_directory_iterator(directory_, error);
  for (; !error && entry != std::filesystem::end(entry); entry.increment(error)) {
    struct stat facts;
    // What vanishes while it is looked at (another slot writes and renames) is passed over.
    if (lstat(entry->path().c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) continue;
    const int64_t stamp = StampOf(facts);
    const auto known = files_.find(entry->path().string());
    const bool unused = known != files_.end() && known->second.stamp == stamp;
    found[entry->path().string()] = {stamp, facts.st_size, unused ? known->second.used : now};
  }
  if (error && error.value() != ENOENT) return FileError(error.value(), "list", directory_);
  files_ = std::move(found);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> CacheLimit::Trim(int64_t max_bytes, absl::Duration min_age) {
  MutexLock lock(mutex_);
  const absl::Duration now = clock_.Boottime();
  RETURN_IF_ERROR(Look(now));
  std::vector<std::pair<std::string, CachedFile>> files(files_.begin(), files_.end());
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) {
    return std::tie(a.second.used, a.second.stamp, a.first) <
           std::tie(b.second.used, b.second.stamp, b.first);
  });
  int64_t total = 0;
  for (const auto& [path, file] : files) total += file.bytes;
  int64_t removed = 0;
  for (const auto& [path, file] : files) {
    if (total - removed <= max_bytes || file.used > now - min_age) break;
    if (StampOf(path) != file.stamp) continue;  // Used while the others were looked at.
    const absl::Status gone = RemoveFile(path);
    if (!gone.ok() && !absl::IsNotFound(gone)) return gone;
    files_.erase(path);
    removed += file.bytes;
  }
  return removed;
}

}  // namespace graft
