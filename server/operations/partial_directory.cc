#include "server/operations/partial_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "server/operations/backup_manifest.h"

namespace graft {
namespace {

absl::Status CheckTarget(const std::string& target) {
  struct stat info;
  if (::lstat(target.c_str(), &info) != 0) {
    return errno == ENOENT ? absl::OkStatus() : FileError(errno, "look at", target);
  }
  if (!S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(target, " is no directory"));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(target));
  if (!names.empty()) {
    return absl::AlreadyExistsError(
        absl::StrCat(target, " is not empty (it holds ", names[0], "): name a new directory"));
  }
  struct stat above;
  if (::stat(DirectoryOf(target).c_str(), &above) == 0 && above.st_dev != info.st_dev) {
    return absl::InvalidArgumentError(
        absl::StrCat(target, " is where a file system is mounted: name a new directory below it"));
  }
  return absl::OkStatus();
}

// The copy of the store is the first thing that is written, and goes last: by it a partial
// directory is known, wherever a kill or a power loss ends this.
absl::Status RemoveContents(const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(path));
  for (const std::string& name : names) {
    if (name != kBackupStore) RETURN_IF_ERROR(RemoveTree(JoinPath(path, name)));
  }
  RETURN_IF_ERROR(SyncDirectory(path));
  return RemoveTree(JoinPath(path, kBackupStore));
}

// What a process that was killed wrote; anything else stays.
absl::Status EmptyPartial(const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(path));
  if (names.empty()) return absl::OkStatus();
  if (!FileExists(JoinPath(path, kBackupStore))) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " is in the way, and no backup made it (it holds ", names[0], "): move it"));
  }
  return RemoveContents(path);
}

bool IsAt(int directory, const std::string& path) {
  struct stat open;
  struct stat named;
  return ::fstat(directory, &open) == 0 && ::stat(path.c_str(), &named) == 0 &&
         open.st_dev == named.st_dev && open.st_ino == named.st_ino;
}

}  // namespace

absl::StatusOr<PartialDirectory> PartialDirectory::Create(std::string target) {
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  RETURN_IF_ERROR(CheckTarget(target));
  std::string path = absl::StrCat(target, ".partial");
  RETURN_IF_ERROR(CreateDirectories(path));
  ASSIGN_OR_RETURN(UniqueFd lock, OpenFile(path, O_RDONLY | O_DIRECTORY));
  // Whoever had it may have renamed it while we came.
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0 || !IsAt(lock.get(), path)) {
    return absl::FailedPreconditionError(
        absl::StrCat("another backup to ", target, " is under way"));
  }
  RETURN_IF_ERROR(EmptyPartial(path));
  return PartialDirectory(std::move(target), std::move(path), std::move(lock));
}

PartialDirectory::~PartialDirectory() {
  if (!lock_.valid()) return;
  if (RemoveContents(path_).ok()) RemoveTree(path_).IgnoreError();
}

absl::Status PartialDirectory::Finish() {
  RETURN_IF_ERROR(RenameAndSync(path_, target_));
  lock_.Reset();
  return absl::OkStatus();
}

}  // namespace graft
