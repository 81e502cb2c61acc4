#include "worker/agent/cache_limit.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

struct CachedFile {
  absl::Time used;
  std::string path;
  int64_t bytes;
};

// What vanishes while it is looked at (another slot writes and renames) is passed over.
absl::StatusOr<std::vector<CachedFile>> FilesBelow(const std::string& directory) {
  std::vector<CachedFile> files;
  std::error_code error;
  auto entry = std::filesystem::recursive_directory_iterator(directory, error);
  for (; !error && entry != std::filesystem::end(entry); entry.increment(error)) {
    struct stat facts;
    if (lstat(entry->path().c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) continue;
    files.push_back({absl::TimeFromTimespec(facts.st_mtim), entry->path().string(), facts.st_size});
  }
  if (error && error.value() != ENOENT) return FileError(error.value(), "list", directory);
  return files;
}

}  // namespace

absl::StatusOr<int64_t> TrimCache(const std::string& directory, int64_t max_bytes,
                                  absl::Duration min_age) {
  ASSIGN_OR_RETURN(std::vector<CachedFile> files, FilesBelow(directory));
  std::sort(files.begin(), files.end(), [](const CachedFile& a, const CachedFile& b) {
    return std::tie(a.used, a.path) < std::tie(b.used, b.path);
  });
  int64_t total = 0;
  for (const CachedFile& file : files) total += file.bytes;
  const absl::Time newest = absl::Now() - min_age;
  int64_t removed = 0;
  for (const CachedFile& file : files) {
    if (total - removed <= max_bytes || file.used > newest) break;
    const absl::Status gone = RemoveFile(file.path);
    if (!gone.ok() && !absl::IsNotFound(gone)) return gone;
    removed += file.bytes;
  }
  return removed;
}

}  // namespace graft
