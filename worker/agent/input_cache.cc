#include "worker/agent/input_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/links.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/telemetry/log.h"

namespace graft {
namespace {

// A path of one or more safe components, none of which leads upwards.
bool IsSafePath(absl::string_view path) {
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (!IsSafeFileName(part)) return false;
  }
  return true;
}

// What the lease itself has wrong, whatever machine takes it.
absl::Status CheckFile(const v1::Artifact& file) {
  if (!IsSafePath(file.path())) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", file.path(),
                     "\" is no safe file name: it must be a path of the letters, "
                     "digits and ._- that leads downwards"));
  }
  if (!IsSha256Hex(file.sha256())) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": \"", file.sha256(), "\" is no SHA-256"));
  }
  return absl::OkStatus();
}

absl::Status CheckFiles(const worker::v1::InputFiles& files) {
  for (const v1::Artifact& file : files.files()) RETURN_IF_ERROR(CheckFile(file));
  if (IsSha256Hex(files.sha256())) return absl::OkStatus();
  const auto path = [](std::string* out, const v1::Artifact& file) { *out += file.path(); };
  return absl::InvalidArgumentError(absl::StrCat("\"", files.sha256(),
                                                 "\" is no SHA-256 of the set of files ",
                                                 absl::StrJoin(files.files(), ", ", path)));
}

std::string NameOf(const v1::Artifact& file) { return absl::StrCat("blob ", file.sha256()); }

// Points at the blob that was there last time, which may have moved. An engine of another slot may
// open the path at any moment: it is replaced, never missing.
absl::Status Link(const std::string& target, const std::string& path) {
  static std::atomic<uint64_t> counter{0};
  RETURN_IF_ERROR(CreateDirectories(DirectoryOf(path)));
  const std::string made = absl::StrCat(path, ".", getpid(), "-", counter.fetch_add(1));
  RETURN_IF_ERROR(LinkByName(target, made));
  return RenameAndSync(made, path);
}

}  // namespace

InputCache::InputCache(std::string directory, ServerLink& link)
    : directory_(std::move(directory)), link_(link) {}

void InputCache::UseServerBlobs(const std::string& directory) {
  MutexLock lock(mutex_);
  server_blobs_ = directory;
}

absl::Status InputCache::Check(const std::string& path, const v1::Artifact& file, Hashing hashing) {
  if (hashing == Hashing::kOnce) return hashes_.CheckFile(path, file.sha256(), NameOf(file));
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  return hashes_.Recheck(fd.get(), file.sha256(), NameOf(file), [](int64_t) { return true; });
}

absl::StatusOr<bool> InputCache::IsCached(const std::string& path, const v1::Artifact& file,
                                          Hashing hashing) {
  // Used from here on, so that it is not the one that makes room while it is read.
  const auto used = [&] {
    MarkUsed(path);
    return absl::OkStatus();
  };
  hashes_.KeepOver(path, used).IgnoreError();
  const absl::Status checked = Check(path, file, hashing);
  if (checked.ok()) return true;
  if (absl::IsNotFound(checked)) return false;
  if (!absl::IsDataLoss(checked)) return OfThisMachine(checked);
  Log(LogLevel::kWarning, "a cached blob is corrupt: fetching it again",
      {{"error", std::string(checked.message())}});
  const absl::Status removed = RemoveFile(path);
  if (!removed.ok() && !absl::IsNotFound(removed)) return OfThisMachine(removed);
  return false;
}

absl::StatusOr<std::string> InputCache::Blob(const v1::Artifact& file, StopSignal& stop,
                                             Hashing hashing) {
  const std::string relative = JoinPath(file.sha256().substr(0, 2), file.sha256());
  std::string server_blobs;
  {
    MutexLock lock(mutex_);
    server_blobs = server_blobs_;
  }
  if (!server_blobs.empty()) {
    std::string shared = JoinPath(server_blobs, relative);
    const absl::Status checked = Check(shared, file, hashing);
    if (checked.ok()) return shared;
    if (absl::IsDataLoss(checked)) {
      Log(LogLevel::kWarning, "a blob of the server is corrupt: asking the server for it",
          {{"error", std::string(checked.message())}});
    }
  }
  std::string cached = JoinPath(JoinPath(directory_, "blobs"), relative);
  ASSIGN_OR_RETURN(const bool there, IsCached(cached, file, hashing));
  if (there) return cached;
  RETURN_IF_ERROR(OfThisMachine(CreateDirectories(DirectoryOf(cached))));
  RETURN_IF_ERROR(link_.Retry(stop, [&] { return link_.FetchBlob(file, cached, stop); }));
  return cached;
}

absl::StatusOr<std::string> InputCache::Folder(const worker::v1::InputFiles& files,
                                               StopSignal& stop, Hashing hashing) {
  RETURN_IF_ERROR(CheckFiles(files));
  std::string folder = JoinPath(JoinPath(directory_, "folders"), files.sha256());
  for (const v1::Artifact& file : files.files()) {
    ASSIGN_OR_RETURN(const std::string blob, Blob(file, stop, hashing));
    RETURN_IF_ERROR(OfThisMachine(Link(blob, JoinPath(folder, file.path()))));
  }
  return folder;
}

absl::StatusOr<std::string> InputCache::File(const v1::Artifact& file, StopSignal& stop) {
  RETURN_IF_ERROR(CheckFile(file));
  worker::v1::InputFiles files;
  files.set_sha256(file.sha256());
  *files.add_files() = file;
  ASSIGN_OR_RETURN(const std::string folder, Folder(files, stop));
  return JoinPath(folder, file.path());
}

}  // namespace graft
