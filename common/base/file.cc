#include "common/base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr FileSystemCalls kSystem = {::pread, ::write, ::fsync, ::rename};
std::atomic<const FileSystemCalls*> g_calls{&kSystem};
const FileSystemCalls& Calls() { return *g_calls.load(); }

// Every sync and every change of a name of ours is made in this file and in links.cc.

int Rename(const std::string& from, const std::string& to) {
  const FailpointsAround step("file", "rename");
  return Calls().rename(from.c_str(), to.c_str());
}

void DieOfFailedSync(int error_number, absl::string_view path) {
  std::fprintf(stderr,
               "fatal: cannot sync %s: %s; ending, since a second try could hide lost data\n",
               std::string(path).c_str(), std::strerror(error_number));
  ::_exit(kFailedSyncExitCode);
}
std::atomic<FailedSyncHandler> g_failed_sync{&DieOfFailedSync};

absl::StatusCode CodeOf(int error_number) {
  switch (error_number) {
    case ENOENT:
      return absl::StatusCode::kNotFound;
    case EEXIST:
    case ENOTEMPTY:
      return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
    case EROFS:
    case EXDEV:  // openat2: the path leads out of its root
      return absl::StatusCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return absl::StatusCode::kResourceExhausted;
    case EIO:
      return absl::StatusCode::kDataLoss;
    case ENAMETOOLONG:
    case ELOOP:
    case ENOTDIR:
    case EISDIR:
    case EINVAL:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

// A name next to `path` that no other process or thread uses; hidden, so that a listing of results
// does not show it.
std::string TemporaryName(const std::string& path) {
  static std::atomic<uint64_t> counter{0};
  return JoinPath(DirectoryOf(path), absl::StrCat(".tmp-", ::getpid(), "-", counter.fetch_add(1),
                                                  "-", BaseName(path).substr(0, 100)));
}

}  // namespace

void SetFileSystemCallsForTest(const FileSystemCalls* calls) {
  g_calls = calls == nullptr ? &kSystem : calls;
}

void SetFailedSyncHandlerForTest(FailedSyncHandler handler) {
  g_failed_sync = handler == nullptr ? &DieOfFailedSync : handler;
}

absl::Status FileError(int error_number, absl::string_view action, absl::string_view path) {
  return absl::Status(CodeOf(error_number), absl::StrCat("cannot ", action, " ", path, ": ",
                                                         std::strerror(error_number)));
}

absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int flags, mode_t mode) {
  for (;;) {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
    if (fd.valid()) return fd;
    if (errno != EINTR) return FileError(errno, "open", path);
  }
}

absl::StatusOr<size_t> ReadAt(int fd, int64_t offset, absl::Span<char> buffer,
                              absl::string_view path) {
  size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t count = Calls().pread(fd, buffer.data() + done, buffer.size() - done,
                                        offset + static_cast<int64_t>(done));
    if (count == 0) break;
    if (count < 0) {
      if (errno == EINTR) continue;
      return FileError(errno, "read", path);
    }
    done += static_cast<size_t>(count);
  }
  return done;
}

absl::Status WriteAll(int fd, absl::string_view bytes, absl::string_view path) {
  while (!bytes.empty()) {
    const ssize_t count = Calls().write(fd, bytes.data(), bytes.size());
    if (count < 0) {
      if (errno == EINTR) continue;
      return FileError(errno, "write", path);
    }
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY));
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return FileError(errno, "read the size of", path);
  // One byte more than allowed shows that the file is too long, also when it grows while it is
  // read.
  const int64_t expected = std::min<int64_t>(info.st_size, max_bytes) + 1;
  std::string content(static_cast<size_t>(expected), '\0');
  size_t size = 0;
  for (;;) {
    ASSIGN_OR_RETURN(const size_t count,
                     ReadAt(fd.get(), static_cast<int64_t>(size),
                            absl::MakeSpan(&content[size], content.size() - size), path));
    size += count;
    if (size > static_cast<size_t>(max_bytes)) {
      return absl::ResourceExhaustedError(
          absl::StrCat(path, " is longer than the ", max_bytes, " bytes allowed"));
    }
    if (size < content.size()) break;
    content.resize(std::min<size_t>(content.size() * 2, static_cast<size_t>(max_bytes) + 1));
  }
  content.resize(size);
  return content;
}

absl::StatusOr<int64_t> FileSize(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return FileError(errno, "read the size of", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  return info.st_size;
}

bool FileExists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

bool DirectoryExists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

absl::Status SyncFile(int fd, absl::string_view path) {
  const FailpointsAround step("file", "sync");
  if (Calls().fsync(fd) == 0) return absl::OkStatus();
  return ReportFailedSync(errno, path);
}

absl::Status ReportFailedSync(int error_number, absl::string_view path) {
  g_failed_sync.load()(error_number, path);
  return absl::DataLossError(absl::StrCat("cannot sync ", path, ": ", std::strerror(error_number)));
}

absl::Status SyncDirectory(const std::string& path) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY | O_DIRECTORY));
  return SyncFile(fd.get(), path);
}

void MarkUsed(const std::string& path) { (void)utimensat(AT_FDCWD, path.c_str(), nullptr, 0); }

absl::Status CreateDirectories(const std::string& path) {
  if (path.empty() || DirectoryExists(path)) return absl::OkStatus();
  const std::string parent = DirectoryOf(path);
  RETURN_IF_ERROR(CreateDirectories(parent));
  const FailpointsAround step("file", "mkdir");
  if (::mkdir(path.c_str(), 0700) != 0) {
    const int error_number = errno;
    if (error_number == EEXIST && DirectoryExists(path)) return absl::OkStatus();
    return FileError(error_number, "create the directory", path);
  }
  return SyncDirectory(parent);
}

absl::Status LinkFile(const std::string& from, const std::string& to) {
  const FailpointsAround step("file", "link");
  if (::link(from.c_str(), to.c_str()) != 0) return FileError(errno, "link", from);
  return absl::OkStatus();
}

absl::Status RemoveFile(const std::string& path) {
  const FailpointsAround step("file", "unlink");
  if (::unlink(path.c_str()) != 0) return FileError(errno, "remove", path);
  return absl::OkStatus();
}

absl::Status RemoveTree(const std::string& path) {
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return FileError(errno, "remove", path);
  }
  if (!S_ISDIR(info.st_mode)) return RemoveFile(path);
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(path));
  for (const std::string& name : names) RETURN_IF_ERROR(RemoveTree(JoinPath(path, name)));
  const FailpointsAround step("file", "rmdir");
  if (::rmdir(path.c_str()) != 0) return FileError(errno, "remove", path);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), &::closedir);
  if (directory == nullptr) return FileError(errno, "list", path);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  if (errno != 0) return FileError(errno, "list", path);
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status RenameAndSync(const std::string& from, const std::string& to) {
  if (Rename(from, to) != 0) return FileError(errno, absl::StrCat("rename ", from, " to"), to);
  const std::string from_directory = DirectoryOf(from);
  const std::string to_directory = DirectoryOf(to);
  RETURN_IF_ERROR(SyncDirectory(to_directory));
  return from_directory == to_directory ? absl::OkStatus() : SyncDirectory(from_directory);
}

bool IsSafeFileName(absl::string_view name) {
  if (name.empty() || name.size() > 128 || name.front() == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

absl::StatusOr<UniqueFd> OpenBeneath(int root_fd, const std::string& relative, int flags,
                                     mode_t mode) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.mode = (flags & O_CREAT) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  if (relative.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("a path holds a zero byte");
  }
  for (;;) {
    UniqueFd fd(
        static_cast<int>(::syscall(SYS_openat2, root_fd, relative.c_str(), &how, sizeof(how))));
    if (fd.valid()) return fd;
    if (errno == ELOOP) return FileError(EACCES, "follow a symbolic link in", relative);
    if (errno != EINTR && errno != EAGAIN) return FileError(errno, "open", relative);
  }
}

absl::StatusOr<AtomicFile> AtomicFile::Create(std::string path) {
  std::string temporary = TemporaryName(path);
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL, 0600));
  return AtomicFile(std::move(path), std::move(temporary), std::move(fd));
}

AtomicFile::~AtomicFile() {
  if (fd_.valid()) RemoveFile(temporary_).IgnoreError();
}

absl::Status AtomicFile::Append(absl::string_view bytes) {
  RETURN_IF_ERROR(WriteAll(fd_.get(), bytes, path_));
  size_bytes_ += static_cast<int64_t>(bytes.size());
  return absl::OkStatus();
}

absl::Status AtomicFile::Commit() {
  RETURN_IF_ERROR(SyncFile(fd_.get(), path_));
  if (Rename(temporary_, path_) != 0) {
    return FileError(errno, "rename a temporary file to", path_);
  }
  fd_.Reset();
  return SyncDirectory(DirectoryOf(path_));
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view content) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Append(content));
  return file.Commit();
}

std::string DirectoryOf(absl::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) return ".";
  return std::string(slash == 0 ? "/" : path.substr(0, slash));
}

std::string BaseName(absl::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  return std::string(path.substr(path.rfind('/') + 1));
}

std::string JoinPath(absl::string_view directory, absl::string_view name) {
  if (directory.empty()) return std::string(name);
  return absl::StrCat(directory, directory.back() == '/' ? "" : "/", name);
}

}  // namespace graft
