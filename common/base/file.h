#pragma once

// Files that last, and files from outside. Everything here is thread-safe unless said and blocks on
// the disk; keep it off the training thread. Paths are used as given: names that come from users
// are checked with IsSafeFileName first, or opened with OpenBeneath.
//
// Status codes of all functions (FileError): NOT_FOUND no such file or directory; ALREADY_EXISTS;
// PERMISSION_DENIED; RESOURCE_EXHAUSTED disk, quota or descriptors full; DATA_LOSS the device
// failed (EIO); INVALID_ARGUMENT the path is no usable name (too long, a loop, not a directory);
// UNAVAILABLE anything else.

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/unique_fd.h"

namespace graft {

// "cannot <action> <path>: No space left on device", with the code said above.
absl::Status FileError(int error_number, absl::string_view action, absl::string_view path);

// open(2) with O_CLOEXEC, repeated after EINTR. `mode` counts with O_CREAT only.
absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int flags, mode_t mode = 0600);

// Reads up to buffer.size() bytes at `offset` and returns how many; fewer only at the end of the
// file. `path` is for errors.
absl::StatusOr<size_t> ReadAt(int fd, int64_t offset, absl::Span<char> buffer,
                              absl::string_view path);

// Writes all of `bytes` at the descriptor's position.
absl::Status WriteAll(int fd, absl::string_view bytes, absl::string_view path);

// The whole file. RESOURCE_EXHAUSTED when it is longer than max_bytes (it may grow meanwhile:
// nothing beyond is read).
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes);

// Bytes of a regular file. INVALID_ARGUMENT when it is not a regular file.
absl::StatusOr<int64_t> FileSize(const std::string& path);
bool FileExists(const std::string& path);
bool DirectoryExists(const std::string& path);

// fsync of a file or, by path, of a directory (which makes the names in it last). A failure is
// fatal: see ReportFailedSync.
absl::Status SyncFile(int fd, absl::string_view path);
absl::Status SyncDirectory(const std::string& path);

// What happens when a sync failed. The kernel may have thrown the unwritten pages away and would
// report success to a second try, so there is none: one line goes to standard error and the process
// ends at once with kFailedSyncExitCode. The next start recovers from what is really on the disk.
// Tests put their own function here (it may return, and then the failed call returns DATA_LOSS);
// nullptr restores the default.
inline constexpr int kFailedSyncExitCode = 86;
// For syncs that a library did (SQLite's).
absl::Status ReportFailedSync(int error_number, absl::string_view path);
using FailedSyncHandler = void (*)(int error_number, absl::string_view path);
void SetFailedSyncHandlerForTest(FailedSyncHandler handler);

// Says that a cached file was used now: its time of modification becomes the present. One that is
// not there, or that is not ours to change, stays as it is.
void MarkUsed(const std::string& path);

// mkdir -p with mode 0700, syncing the parent of each directory it makes.
absl::Status CreateDirectories(const std::string& path);
// link(2): `to` becomes another name of the file. NOT_FOUND, ALREADY_EXISTS; others where the file
// system has no such names.
absl::Status LinkFile(const std::string& from, const std::string& to);
// unlink(2). NOT_FOUND when it is not there.
absl::Status RemoveFile(const std::string& path);
// rm -rf; symbolic links are removed, not followed. OK when there was nothing.
absl::Status RemoveTree(const std::string& path);
// Names in a directory, sorted bytewise, without "." and "..".
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);
// rename(2), then fsync of both directories.
absl::Status RenameAndSync(const std::string& from, const std::string& to);

// Is `name` one path component that may come from a user: [A-Za-z0-9._-]{1,128}, no leading dot?
bool IsSafeFileName(absl::string_view name);

// Opens `relative` below the directory `root_fd`; no "..", absolute path or symbolic link in it
// leads outside (openat2 with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS). PERMISSION_DENIED when one
// tries to.
absl::StatusOr<UniqueFd> OpenBeneath(int root_fd, const std::string& relative, int flags,
                                     mode_t mode = 0600);

// A file that appears whole or not at all: bytes go to a temporary file of mode 0600 in the same
// directory; Commit makes them last and gives them their name, replacing an older file of that
// name. Destroyed without Commit, it leaves nothing. One thread at a time.
class AtomicFile {
 public:
  static absl::StatusOr<AtomicFile> Create(std::string path);
  AtomicFile(AtomicFile&&) noexcept = default;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  absl::Status Append(absl::string_view bytes);
  // fsync, rename, fsync of the directory. After an error the old file is untouched (or, if only
  // the last sync failed, the process has ended).
  absl::Status Commit();
  int64_t size_bytes() const { return size_bytes_; }

 private:
  AtomicFile(std::string path, std::string temporary, UniqueFd fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}

  std::string path_;
  std::string temporary_;
  UniqueFd fd_;
  int64_t size_bytes_ = 0;
};

absl::Status WriteFileAtomically(const std::string& path, absl::string_view content);

// The directory of a path ("." when it has none) and its last component.
std::string DirectoryOf(absl::string_view path);
std::string BaseName(absl::string_view path);
std::string JoinPath(absl::string_view directory, absl::string_view name);

// The system calls through which file.h reads and writes, so that tests can make the n-th one fail
// (full disk, device error, short write). Returns like the system's, errno included. Not for
// production; replace while nothing else runs.
struct FileSystemCalls {
  ssize_t (*pread)(int fd, void* buffer, size_t count, off_t offset);
  ssize_t (*write)(int fd, const void* bytes, size_t count);
  int (*fsync)(int fd);
  int (*rename)(const char* from, const char* to);
};
void SetFileSystemCallsForTest(const FileSystemCalls* calls);  // nullptr restores the system's

}  // namespace graft
