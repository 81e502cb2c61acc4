#include "common/blobs/publish.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/links.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace graft {
namespace {

constexpr char kByUid[] = ".by-uid";
constexpr char kTemporary[] = ".tmp-";

std::string TemporaryIn(absl::string_view directory) {
  static std::atomic<uint64_t> counter{0};
  return absl::StrCat(directory, "/", kTemporary, ::getpid(), "-", counter.fetch_add(1));
}

std::string LinkTarget(absl::string_view uid) { return absl::StrCat(kByUid, "/", uid); }

absl::Status CheckName(absl::string_view what, absl::string_view name) {
  if (IsSafeFileName(name)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " '", absl::Utf8SafeCEscape(Shortened(name, 200)),
                   "' must be [A-Za-z0-9._-]{1,128} without a leading dot"));
}

// The target of a symbolic link; "" when the path is none.
std::string ReadLink(const std::string& path) {
  char target[512];
  const ssize_t size = ::readlink(path.c_str(), target, sizeof(target));
  return size < 0 ? "" : std::string(target, static_cast<size_t>(size));
}

bool IsThere(const std::string& path) {
  struct stat info;
  return ::lstat(path.c_str(), &info) == 0;
}

absl::Status RemoveTemporaries(const std::string& directory) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  for (const std::string& name : names) {
    if (absl::StartsWith(name, kTemporary)) {
      RETURN_IF_ERROR(RemoveTree(JoinPath(directory, name)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ViewPublisher> ViewPublisher::Open(std::string root, const FileBlobStore& blobs) {
  const std::string by_uid = JoinPath(root, kByUid);
  RETURN_IF_ERROR(CreateDirectories(by_uid));
  RETURN_IF_ERROR(RemoveTemporaries(root));
  RETURN_IF_ERROR(RemoveTemporaries(by_uid));
  return ViewPublisher(std::move(root), blobs);
}

std::string ViewPublisher::PathOf(absl::string_view uid) const {
  return JoinPath(root_, LinkTarget(uid));
}

absl::Status ViewPublisher::Prepare(absl::string_view uid,
                                    const std::vector<ManifestFile>& files) const {
  RETURN_IF_ERROR(CheckName("uid", uid));
  RETURN_IF_ERROR(CheckManifest(files));
  if (HasFiles(uid, files)) return absl::OkStatus();
  const std::string built = TemporaryIn(JoinPath(root_, kByUid));
  absl::Status status = Build(built, files);
  if (status.ok()) status = Install(built, PathOf(uid));
  if (!status.ok()) RemoveView(built).IgnoreError();
  return status;
}

absl::Status ViewPublisher::Publish(absl::string_view uid, absl::string_view name,
                                    const std::vector<ManifestFile>& files) const {
  RETURN_IF_ERROR(CheckName("name", name));
  const absl::Status prepared = Prepare(uid, files);
  if (!prepared.ok()) return Annotate(prepared, absl::StrCat("cannot publish ", name));
  return LinkName(uid, name);
}

absl::Status ViewPublisher::RemoveUnnamed() const {
  const std::string by_uid = JoinPath(root_, kByUid);
  ASSIGN_OR_RETURN(const std::vector<std::string> uids, ListDirectory(by_uid));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(root_));
  std::set<std::string> shown;
  for (const std::string& name : names) shown.insert(ReadLink(JoinPath(root_, name)));
  for (const std::string& uid : uids) {
    // What another thread is building has no name yet.
    if (absl::StartsWith(uid, kTemporary) || shown.count(LinkTarget(uid)) > 0) continue;
    const std::string doomed = TemporaryIn(by_uid);
    RETURN_IF_ERROR(RenameAndSync(PathOf(uid), doomed));
    RETURN_IF_ERROR(RemoveView(doomed));
  }
  return absl::OkStatus();
}

absl::Status ViewPublisher::Build(const std::string& directory,
                                  const std::vector<ManifestFile>& files) const {
  std::set<std::string> directories = {directory};
  RETURN_IF_ERROR(CreateDirectories(directory));
  for (const ManifestFile& file : files) {
    absl::StatusOr<BlobInfo> blob = blobs_->Stat(file.sha256);
    if (!blob.ok()) return Annotate(blob.status(), file.path);
    if (blob->size_bytes != file.size_bytes) {
      return absl::DataLossError(absl::StrCat(file.path, ": blob ", file.sha256, " has ",
                                              blob->size_bytes, " bytes, not ", file.size_bytes));
    }
    const std::string to = JoinPath(directory, file.path);
    RETURN_IF_ERROR(CreateDirectories(DirectoryOf(to)));
    directories.insert(DirectoryOf(to));
    RETURN_IF_ERROR(Annotate(blobs_->Link(file.sha256, to), file.path));
  }
  for (const std::string& made : directories) RETURN_IF_ERROR(SyncDirectory(made));
  return absl::OkStatus();
}

absl::Status ViewPublisher::Install(const std::string& built, const std::string& directory) const {
  if (!IsThere(directory)) return RenameAndSync(built, directory);
  // A broken view is exchanged in one step, so that there is no instant without one.
  RETURN_IF_ERROR(ExchangeAndSync(built, directory));
  return RemoveView(built);
}

absl::Status ViewPublisher::RemoveView(const std::string& path) const {
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0) return FileError(errno, "remove", path);
  if (S_ISREG(info.st_mode)) return blobs_->Unlink(path);
  if (S_ISDIR(info.st_mode)) {
    ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(path));
    for (const std::string& name : names) RETURN_IF_ERROR(RemoveView(JoinPath(path, name)));
  }
  return RemoveTree(path);
}

absl::Status ViewPublisher::LinkName(absl::string_view uid, absl::string_view name) const {
  const std::string path = JoinPath(root_, name);
  const std::string current = ReadLink(path);
  if (current == LinkTarget(uid)) return SyncDirectory(root_);
  if (IsThere(path) && !absl::StartsWith(current, absl::StrCat(kByUid, "/"))) {
    return absl::AlreadyExistsError(absl::StrCat(path, " is there and is not one of ours"));
  }
  const std::string temporary = TemporaryIn(root_);
  RETURN_IF_ERROR(LinkByName(LinkTarget(uid), temporary));
  const absl::Status status = RenameAndSync(temporary, path);
  if (!status.ok()) RemoveFile(temporary).IgnoreError();
  return status;
}

absl::Status ViewPublisher::Remove(absl::string_view uid, absl::string_view name) const {
  RETURN_IF_ERROR(CheckName("uid", uid));
  RETURN_IF_ERROR(CheckName("name", name));
  const std::string link = JoinPath(root_, name);
  if (ReadLink(link) == LinkTarget(uid)) {
    RETURN_IF_ERROR(RemoveFile(link));
    RETURN_IF_ERROR(SyncDirectory(root_));
  }
  const std::string directory = PathOf(uid);
  if (!IsThere(directory)) return absl::OkStatus();
  const std::string doomed = TemporaryIn(JoinPath(root_, kByUid));
  RETURN_IF_ERROR(RenameAndSync(directory, doomed));
  return RemoveView(doomed);
}

bool ViewPublisher::HasFiles(absl::string_view uid, const std::vector<ManifestFile>& files) const {
  const std::string directory = PathOf(uid);
  if (!DirectoryExists(directory)) return false;
  for (const ManifestFile& file : files) {
    if (!blobs_->IsLinkOrCopy(file.sha256, JoinPath(directory, file.path))) return false;
  }
  return true;
}

bool ViewPublisher::IsWhole(absl::string_view uid, absl::string_view name,
                            const std::vector<ManifestFile>& files) const {
  if (!CheckName("uid", uid).ok() || !CheckName("name", name).ok()) return false;
  return ReadLink(JoinPath(root_, name)) == LinkTarget(uid) && HasFiles(uid, files);
}

}  // namespace graft
