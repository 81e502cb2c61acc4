#include "common/blobs/hash_cache.h"

#include <fcntl.h>

#include <cerrno>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr size_t kHashBytes = size_t{1} << 20;
constexpr size_t kMaxKnown = 200'000;  // Files; about 200 bytes each.
// The kernel stamps files with a clock of ticks of up to 10 ms: a file may change again within the
// tick of its last change and look the same.
constexpr int64_t kTickNs = 20'000'000;

int64_t Nanoseconds(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

int64_t FileSystemNow() {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);  // What files are stamped with.
  return Nanoseconds(now);
}

absl::Status IsCorrupt(absl::string_view name, absl::string_view hash) {
  return absl::DataLossError(absl::StrCat(name, " is corrupt: its bytes hash to ", hash));
}

}  // namespace

HashCache::Known HashCache::FactsOf(const struct stat& info) {
  return {info.st_size, Nanoseconds(info.st_mtim), Nanoseconds(info.st_ctim), ""};
}

std::string HashCache::Find(const struct stat& info) {
  const Known now = FactsOf(info);
  MutexLock lock(mutex_);
  const auto found = known_.find({info.st_dev, info.st_ino});
  if (found == known_.end()) return "";
  const Known& then = found->second;
  const bool same = then.size == now.size && then.modified_ns == now.modified_ns &&
                    then.changed_ns == now.changed_ns;
  return same ? then.sha256 : "";
}

void HashCache::Remember(const struct stat& info, const std::string& sha256) {
  Known known = FactsOf(info);
  known.sha256 = sha256;
  MutexLock lock(mutex_);
  if (known_.size() >= kMaxKnown) known_.clear();
  known_[{info.st_dev, info.st_ino}] = std::move(known);
}

absl::Status HashCache::Check(int fd, absl::string_view sha256, absl::string_view name) {
  struct stat info;
  if (::fstat(fd, &info) != 0) return FileError(errno, "look at", name);
  const std::string known = Find(info);
  if (known.empty()) return ReadAndCheck(fd, sha256, name, nullptr);
  return known == sha256 ? absl::OkStatus() : IsCorrupt(name, known);
}

absl::Status HashCache::CheckFile(const std::string& path, absl::string_view sha256,
                                  absl::string_view name) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  return Check(fd.get(), sha256, name);
}

absl::Status HashCache::Recheck(int fd, absl::string_view sha256, absl::string_view name,
                                const HashPace& pace) {
  return ReadAndCheck(fd, sha256, name, &pace);
}

absl::Status HashCache::ReadAndCheck(int fd, absl::string_view sha256, absl::string_view name,
                                     const HashPace* pace) {
  const int64_t begun = FileSystemNow();
  struct stat info;
  if (::fstat(fd, &info) != 0) return FileError(errno, "look at", name);
  Sha256 hash;
  std::string buffer(kHashBytes, '\0');
  for (int64_t offset = 0;;) {
    // Not from memory, but for what somebody maps: the question is what the disk holds.
    if (pace != nullptr) ::posix_fadvise(fd, offset, kHashBytes, POSIX_FADV_DONTNEED);
    ASSIGN_OR_RETURN(const size_t count,
                     ReadAt(fd, offset, absl::MakeSpan(&buffer[0], buffer.size()), name));
    if (count == 0) break;
    hash.Update(absl::string_view(buffer.data(), count));
    offset += static_cast<int64_t>(count);
    if (pace != nullptr && !(*pace)(static_cast<int64_t>(count))) {
      return absl::CancelledError(absl::StrCat("reading ", name, " was ended"));
    }
  }
  const std::string found = hash.Hex();
  // What changed a moment ago may change once more without its stamps.
  const int64_t quiet = begun - Nanoseconds(info.st_ctim);
  if (quiet < 0 || quiet > kTickNs) Remember(info, found);
  return found == sha256 ? absl::OkStatus() : IsCorrupt(name, found);
}

absl::Status HashCache::KeepOver(const std::string& path,
                                 const std::function<absl::Status()>& change) {
  struct stat before;
  struct stat after;
  // Open, for it may be the name that goes.
  const absl::StatusOr<UniqueFd> fd = OpenFile(path, O_RDONLY);
  const bool there = fd.ok() && ::fstat(fd->get(), &before) == 0;
  const std::string known = there ? Find(before) : "";
  RETURN_IF_ERROR(change());
  if (!known.empty() && ::fstat(fd->get(), &after) == 0 && after.st_size == before.st_size) {
    Remember(after, known);
  }
  return absl::OkStatus();
}

}  // namespace graft
