#pragma once

// Records what this process changes on the disk below one directory, at the system calls, whoever
// makes them: SQLite, common/base/file.h, anybody. power_loss.h says what a power loss would have
// left of it. A test program that includes this has our functions before libc's, as with a
// preloaded library; while nothing is recorded they only pass the call on.

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "common/base/file.h"
#include "common/base/mutex.h"

namespace graft {

// Files, directories and symbolic links are nodes, by number; what is recorded is node 0.
struct DiskNode {
  enum class Kind { kFile, kDirectory, kSymlink };
  Kind kind = Kind::kDirectory;
  std::string target;  // Of a symbolic link.
};

inline constexpr int kNoNode = -1;

// From now on `name` of `directory` is that node; kNoNode: there is none.
struct NameChange {
  int directory = 0;
  std::string name;
  int node = kNoNode;
};

struct DiskChange {
  enum class Kind { kWrite, kTruncate, kNames, kSync };
  Kind kind = Kind::kSync;
  int node = 0;
  int64_t offset = 0;  // Of a write; of a truncation the size.
  std::string bytes;
  std::vector<NameChange> names;  // In one step, as far as they are of one directory.
};

// One at a time in a process. Thread-safe.
class DiskLog {
 public:
  // `root`: a directory with nothing in it, by the path that all calls use.
  explicit DiskLog(std::string root) : root_(std::move(root)) {
    struct stat info;
    if (::stat(root_.c_str(), &info) == 0) Add(info, {});
    Slot() = this;
  }
  ~DiskLog() { Stop(); }
  DiskLog(const DiskLog&) = delete;
  DiskLog& operator=(const DiskLog&) = delete;

  // Records no more.
  void Stop() { Slot() = nullptr; }
  // Null: nothing is recorded.
  static DiskLog* Current() { return Slot().load(); }

  size_t size() {
    MutexLock lock(mutex_);
    return changes_.size();
  }
  // When nobody changes anything any more.
  const std::vector<DiskChange>& changes() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return changes_; }
  const std::vector<DiskNode>& nodes() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return nodes_; }

  // The rest is for the functions below: each makes the call and records it.
  template <typename Call>
  ssize_t Write(int fd, const void* bytes, int64_t offset, const Call& call) {
    MutexLock lock(mutex_);
    const int node = Find(fd);
    if (offset < 0 && node != kNoNode) offset = PositionOf(fd);
    const ssize_t written = call();
    if (node != kNoNode && written > 0) {
      changes_.push_back({DiskChange::Kind::kWrite, node, offset,
                          std::string(static_cast<const char*>(bytes), written)});
    }
    return written;
  }
  template <typename Call>
  int Truncate(int fd, int64_t size, const Call& call) {
    return OnFile(fd, {DiskChange::Kind::kTruncate, 0, size}, call);
  }
  template <typename Call>
  int Sync(int fd, const Call& call) {
    return OnFile(fd, {DiskChange::Kind::kSync}, call);
  }
  template <typename Call>
  int Open(const char* path, int flags, const Call& call) {
    if ((flags & (O_CREAT | O_TRUNC)) == 0 || !IsBelow(path)) return call();
    MutexLock lock(mutex_);
    struct stat info;
    const bool was_there = ::lstat(path, &info) == 0;
    const int fd = call();
    if (fd < 0 || ::fstat(fd, &info) != 0) return fd;
    if (!was_there) {
      Name(path, Add(info, {DiskNode::Kind::kFile}));
    } else if ((flags & O_TRUNC) != 0) {
      changes_.push_back({DiskChange::Kind::kTruncate, Find(fd)});
    }
    return fd;
  }
  template <typename Call>
  int Make(const char* path, DiskNode node, const Call& call) {
    if (!IsBelow(path)) return call();
    MutexLock lock(mutex_);
    const int code = call();
    struct stat info;
    if (code == 0 && ::lstat(path, &info) == 0) Name(path, Add(info, std::move(node)));
    return code;
  }
  template <typename Call>
  int Link(const char* from, const char* to, const Call& call) {
    if (!IsBelow(to)) return call();
    MutexLock lock(mutex_);
    const int node = FindPath(from);
    const int code = call();
    if (code == 0) Name(to, node);
    return code;
  }
  template <typename Call>
  int Remove(const char* path, const Call& call) {
    if (!IsBelow(path)) return call();
    MutexLock lock(mutex_);
    const int code = call();
    if (code == 0) Name(path, kNoNode);
    return code;
  }
  template <typename Call>
  int Rename(const char* from, const char* to, bool exchange, const Call& call) {
    if (!IsBelow(from) || !IsBelow(to)) return call();
    MutexLock lock(mutex_);
    const int node = FindPath(from);
    const int other = exchange ? FindPath(to) : kNoNode;
    const int code = call();
    if (code != 0) return code;
    DiskChange change = {DiskChange::Kind::kNames};
    change.names = {ChangeOf(to, node), ChangeOf(from, other)};
    changes_.push_back(std::move(change));
    return code;
  }

 private:
  using Inode = std::pair<dev_t, ino_t>;

  static std::atomic<DiskLog*>& Slot() {
    static std::atomic<DiskLog*> slot{nullptr};
    return slot;
  }
  bool IsBelow(absl::string_view path) const { return absl::StartsWith(path, root_ + "/"); }

  // Of a file that is new, though the number may be that of one which is gone.
  int Add(const struct stat& info, DiskNode node) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    nodes_.push_back(std::move(node));
    return by_inode_[{info.st_dev, info.st_ino}] = static_cast<int>(nodes_.size()) - 1;
  }
  int Find(const struct stat& info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto found = by_inode_.find({info.st_dev, info.st_ino});
    return found == by_inode_.end() ? kNoNode : found->second;
  }
  int Find(int fd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    struct stat info;
    return ::fstat(fd, &info) == 0 ? Find(info) : kNoNode;
  }
  int FindPath(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    struct stat info;
    return ::lstat(path.c_str(), &info) == 0 ? Find(info) : kNoNode;
  }
  static int64_t PositionOf(int fd) {
    return ::lseek(fd, 0, (::fcntl(fd, F_GETFL) & O_APPEND) != 0 ? SEEK_END : SEEK_CUR);
  }
  NameChange ChangeOf(const char* path, int node) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return {FindPath(DirectoryOf(path)), BaseName(path), node};
  }
  void Name(const char* path, int node) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    DiskChange change = {DiskChange::Kind::kNames};
    change.names = {ChangeOf(path, node)};
    changes_.push_back(std::move(change));
  }
  template <typename Call>
  int OnFile(int fd, DiskChange change, const Call& call) {
    MutexLock lock(mutex_);
    change.node = Find(fd);
    const int code = call();
    if (code == 0 && change.node != kNoNode) changes_.push_back(std::move(change));
    return code;
  }

  const std::string root_;
  Mutex mutex_;
  std::vector<DiskChange> changes_ ABSL_GUARDED_BY(mutex_);
  std::vector<DiskNode> nodes_ ABSL_GUARDED_BY(mutex_);
  std::map<Inode, int> by_inode_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft

// libc's function of the name, and `record` of the log with it where something is recorded.
#define GRAFT_RECORDED(name, arguments, record)                                          \
  static const auto real = reinterpret_cast<decltype(&::name)>(dlsym(RTLD_NEXT, #name)); \
  const auto call = [&] { return real arguments; };                                      \
  graft::DiskLog* const log = graft::DiskLog::Current();                                 \
  return log == nullptr ? call() : log->record

#define GRAFT_WEAK extern "C" __attribute__((weak, used))

GRAFT_WEAK ssize_t write(int fd, const void* bytes, size_t count) {
  GRAFT_RECORDED(write, (fd, bytes, count), Write(fd, bytes, -1, call));
}
GRAFT_WEAK ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  GRAFT_RECORDED(pwrite, (fd, bytes, count, offset), Write(fd, bytes, offset, call));
}
GRAFT_WEAK ssize_t pwrite64(int fd, const void* bytes, size_t count, off64_t offset) {
  GRAFT_RECORDED(pwrite64, (fd, bytes, count, offset), Write(fd, bytes, offset, call));
}
GRAFT_WEAK int ftruncate(int fd, off_t size) noexcept {
  GRAFT_RECORDED(ftruncate, (fd, size), Truncate(fd, size, call));
}
GRAFT_WEAK int ftruncate64(int fd, off64_t size) noexcept {
  GRAFT_RECORDED(ftruncate64, (fd, size), Truncate(fd, size, call));
}
GRAFT_WEAK int fsync(int fd) { GRAFT_RECORDED(fsync, (fd), Sync(fd, call)); }
GRAFT_WEAK int fdatasync(int fd) { GRAFT_RECORDED(fdatasync, (fd), Sync(fd, call)); }
GRAFT_WEAK int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  GRAFT_RECORDED(open, (path, flags, mode), Open(path, flags, call));
}
GRAFT_WEAK int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  GRAFT_RECORDED(open64, (path, flags, mode), Open(path, flags, call));
}
GRAFT_WEAK int mkdir(const char* path, mode_t mode) noexcept {
  GRAFT_RECORDED(mkdir, (path, mode), Make(path, {graft::DiskNode::Kind::kDirectory}, call));
}
GRAFT_WEAK int symlink(const char* target, const char* path) noexcept {
  GRAFT_RECORDED(symlink, (target, path),
                 Make(path, {graft::DiskNode::Kind::kSymlink, target}, call));
}
GRAFT_WEAK int link(const char* from, const char* to) noexcept {
  GRAFT_RECORDED(link, (from, to), Link(from, to, call));
}
GRAFT_WEAK int unlink(const char* path) noexcept {
  GRAFT_RECORDED(unlink, (path), Remove(path, call));
}
GRAFT_WEAK int rmdir(const char* path) noexcept {
  GRAFT_RECORDED(rmdir, (path), Remove(path, call));
}
GRAFT_WEAK int rename(const char* from, const char* to) noexcept {
  GRAFT_RECORDED(rename, (from, to), Rename(from, to, /*exchange=*/false, call));
}
GRAFT_WEAK int renameat2(int from_at, const char* from, int to_at, const char* to,
                         unsigned flags) noexcept {
  GRAFT_RECORDED(renameat2, (from_at, from, to_at, to, flags),
                 Rename(from, to, (flags & RENAME_EXCHANGE) != 0, call));
}

#undef GRAFT_WEAK
#undef GRAFT_RECORDED
