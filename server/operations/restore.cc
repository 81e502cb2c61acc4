#include "server/operations/restore.h"

#include <fcntl.h>

#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/byte_text.h"
#include "common/base/file.h"
#include "common/base/process_lock.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "server/catalogue/upload_room.h"
#include "server/operations/artifacts_owner.h"
#include "server/operations/copied_file.h"
#include "server/operations/data_directory.h"
#include "server/store/sqlite_copy.h"

namespace graft {
namespace {

constexpr char kPartial[] = "restore.partial";

absl::Status CheckIsNotInUse(const std::string& data) {
  const std::string lock = JoinPath(data, kServerLockName);
  if (!IsLocked(lock)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(data, " is in use by a graft-server (process ",
                                                    ProcessLock::OwnerOf(lock),
                                                    "): restore into a new directory"));
}

// What a restore that was killed, or lost its power, left does not count. That it has its directory
// tells: its store's last step is from there to here, and a power loss may leave it in neither.
absl::Status CheckIsEmpty(const std::string& data) {
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory(data);
  if (absl::IsNotFound(names.status())) return absl::OkStatus();
  RETURN_IF_ERROR(names.status());
  const bool killed = DirectoryExists(JoinPath(data, kPartial));
  for (const std::string& name : *names) {
    if (name == kServerLockName || name == kPartial) continue;
    if (killed && name == kArtifactsName) continue;
    return absl::AlreadyExistsError(
        absl::StrCat(data, " is not empty (it holds ", name, "): restore into a new directory"));
  }
  return absl::OkStatus();
}

absl::Status Damaged(const std::string& from, absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the backup ", from, " is damaged: ", what,
                                          "; nothing was restored. Use another one"));
}

class Restoration {
 public:
  Restoration(const std::string& from, const std::string& data, const OperationProgress& progress)
      : from_(from), data_(data), partial_(JoinPath(data, kPartial)), progress_(progress) {}

  absl::StatusOr<BackupManifest> Run();
  absl::Status RemoveAll() {
    RETURN_IF_ERROR(RemoveTree(JoinPath(data_, kArtifactsName)));
    return RemoveTree(partial_);
  }

 private:
  absl::Status CheckRoom();
  absl::Status CopyAll();
  absl::Status CopyFile(const BackupFile& file);
  // That the store is whole, what BACKUP says it is, and names nothing that is not there.
  absl::Status CheckStore();

  const std::string& from_;
  const std::string& data_;
  const std::string partial_;
  const OperationProgress& progress_;
  UniqueFd directory_;  // from_
  BackupManifest manifest_;
  int64_t done_bytes_ = 0;
  int64_t total_bytes_ = 0;
};

absl::Status Restoration::CheckRoom() {
  for (const BackupFile& file : manifest_.files) {
    const absl::StatusOr<int64_t> size = FileSize(JoinPath(from_, file.path));
    if (absl::IsNotFound(size.status())) {
      return Damaged(from_, absl::StrCat(file.path, " is missing"));
    }
    RETURN_IF_ERROR(size.status());
    total_bytes_ += *size;
  }
  const int64_t free = DiskSpaceAt(data_).free_bytes;
  if (total_bytes_ <= free) return absl::OkStatus();
  return DiskFull(absl::StrCat("no room in ", data_, ": the backup takes ",
                               FormatBytes(total_bytes_), ", and ", FormatBytes(free),
                               " are free"));
}

absl::Status Restoration::CopyFile(const BackupFile& file) {
  const std::string to = JoinPath(partial_, file.path);
  // The name may be a link that leads elsewhere.
  ASSIGN_OR_RETURN(const UniqueFd source, OpenBeneath(directory_.get(), file.path, O_RDONLY));
  RETURN_IF_ERROR(CreateDirectories(DirectoryOf(to)));
  ASSIGN_OR_RETURN(const CopiedFile copied,
                   CopyAndHash(source.get(), JoinPath(from_, file.path), to, ModeOfCopy(file.path),
                               [this](int64_t bytes) {
                                 done_bytes_ += bytes;
                                 return progress_(MakeProgress("files", done_bytes_, total_bytes_));
                               }));
  if (copied.sha256 == file.sha256) return absl::OkStatus();
  return Damaged(
      from_, absl::StrCat("the bytes of ", file.path, " are not those that were written (SHA-256 ",
                          copied.sha256, ")"));
}

absl::Status Restoration::CopyAll() {
  for (const BackupFile& file : manifest_.files) RETURN_IF_ERROR(CopyFile(file));
  return absl::OkStatus();
}

absl::Status Restoration::CheckStore() {
  const std::string path = JoinPath(partial_, kBackupStore);
  if (!FileExists(path)) return Damaged(from_, absl::StrCat(kBackupStore, " is missing"));
  ASSIGN_OR_RETURN(const StoreCopy store, ReadStoreCopy(path));
  if (store.id != manifest_.store_id || store.jobs != manifest_.jobs) {
    return Damaged(from_, absl::StrCat(kBackupStore, " is another one than BACKUP tells of"));
  }
  const std::set<std::string> missing(manifest_.missing_blobs.begin(),
                                      manifest_.missing_blobs.end());
  for (const NamedBlob& blob : store.blobs) {
    const bool there = FileExists(JoinPath(partial_, BackupPathOfBlob(blob.sha256)));
    if (there || missing.count(blob.sha256) > 0) continue;
    return Damaged(from_,
                   absl::StrCat("blob ", blob.sha256, ", which the store names, is missing"));
  }
  return absl::OkStatus();
}

absl::StatusOr<BackupManifest> Restoration::Run() {
  ASSIGN_OR_RETURN(manifest_, ReadBackupManifest(from_));
  RETURN_IF_ERROR(CheckRoom());
  ASSIGN_OR_RETURN(directory_, OpenFile(from_, O_RDONLY | O_DIRECTORY));
  RETURN_IF_ERROR(RemoveAll());
  RETURN_IF_ERROR(CreateDirectories(JoinPath(partial_, kArtifactsName)));
  RETURN_IF_ERROR(CopyAll());
  RETURN_IF_ERROR(CheckStore());
  const std::string store = JoinPath(partial_, kBackupStore);
  RETURN_IF_ERROR(BeginNewLeaseEpochs(store));
  RETURN_IF_ERROR(WriteArtifactsOwner(
      JoinPath(partial_, kArtifactsName),
      {manifest_.store_id, absl::StrCat("sqlite:", JoinPath(data_, kStoreFileName))}));
  RETURN_IF_ERROR(SyncDirectories(partial_));
  // Artifacts without their store belong to no server; a store without its artifacts would be one.
  RETURN_IF_ERROR(
      RenameAndSync(JoinPath(partial_, kArtifactsName), JoinPath(data_, kArtifactsName)));
  RETURN_IF_ERROR(RenameAndSync(store, JoinPath(data_, kStoreFileName)));
  RemoveTree(partial_).IgnoreError();  // Empty.
  return std::move(manifest_);
}

}  // namespace

absl::StatusOr<BackupManifest> Restore(const std::string& from, const std::string& data,
                                       const OperationProgress& progress) {
  RETURN_IF_ERROR(CheckIsNotInUse(data));
  RETURN_IF_ERROR(CheckIsEmpty(data));
  RETURN_IF_ERROR(ReadBackupManifest(from).status());  // Before a directory is made for nothing.
  const bool made = !DirectoryExists(data);
  RETURN_IF_ERROR(CreateDirectories(data));
  ASSIGN_OR_RETURN(const ProcessLock lock,
                   ProcessLock::Acquire(JoinPath(data, kServerLockName), data, "graft-server"));
  RETURN_IF_ERROR(CheckIsEmpty(data));
  Restoration restoration(from, data, progress);
  absl::StatusOr<BackupManifest> manifest = restoration.Run();
  if (!manifest.ok()) {
    restoration.RemoveAll().IgnoreError();
    (made ? RemoveTree(data) : RemoveFile(JoinPath(data, kServerLockName))).IgnoreError();
  }
  return manifest;
}

}  // namespace graft
