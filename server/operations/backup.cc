#include "server/operations/backup.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/byte_text.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/base/version.h"
#include "common/errors/status_details.h"
#include "server/catalogue/upload_room.h"
#include "server/operations/backup_manifest.h"
#include "server/operations/copied_file.h"
#include "server/operations/partial_directory.h"
#include "server/store/sqlite_copy.h"

namespace graft {
namespace {

constexpr char kLogs[] = "artifacts/logs";
constexpr char kOwner[] = "artifacts/STORE";

absl::Status Ended() { return absl::CancelledError("the backup was ended before it was whole"); }

bool OnOneFileSystem(const std::string& one, const std::string& other) {
  struct stat a;
  struct stat b;
  return ::stat(one.c_str(), &a) == 0 && ::stat(other.c_str(), &b) == 0 && a.st_dev == b.st_dev;
}

// The newest backup of the same store beside `to`; empty: there is none.
std::string EarlierBackup(const std::string& to, const std::string& store_id) {
  const std::string parent = DirectoryOf(to);
  std::string newest;
  std::string newest_time;
  for (const std::string& name : ListDirectory(parent).value_or(std::vector<std::string>())) {
    const std::string path = JoinPath(parent, name);
    const absl::StatusOr<BackupManifest> manifest = ReadBackupManifest(path);
    if (!manifest.ok() || manifest->store_id != store_id || manifest->time <= newest_time) continue;
    newest = path;
    newest_time = manifest->time;
  }
  return newest;
}

class Backup {
 public:
  Backup(JobStore& store, FileBlobStore& blobs, const BackupPlan& plan,
         const OperationProgress& progress, std::string directory)
      : store_(store),
        blobs_(blobs),
        plan_(plan),
        progress_(progress),
        directory_(std::move(directory)),
        links_(OnOneFileSystem(blobs.root(), directory_)) {}

  absl::StatusOr<admin::v1::BackUpReport> Run();

 private:
  std::string Path(const std::string& relative) const { return JoinPath(directory_, relative); }
  absl::Status CheckRoom();
  absl::Status CopyStore();
  absl::Status CopyBlobs();
  absl::Status CopyBlob(const NamedBlob& blob);
  // NOT_FOUND: neither the server nor the earlier backup has it. DATA_LOSS: it is corrupt.
  absl::Status LinkOrCopyBlob(const NamedBlob& blob, const std::string& to);
  absl::Status CopyLogs(const std::string& relative);
  // Of a file that may be gone or grow meanwhile.
  absl::Status CopyFile(const std::string& relative);

  JobStore& store_;
  FileBlobStore& blobs_;
  const BackupPlan& plan_;
  const OperationProgress& progress_;
  const std::string directory_;
  const bool links_;
  std::string earlier_;
  int64_t done_bytes_ = 0;
  int64_t total_bytes_ = 0;
  BackupManifest manifest_;
  admin::v1::BackUpReport report_;
};

absl::Status Backup::CheckRoom() {
  absl::string_view store = plan_.store;
  absl::ConsumePrefix(&store, "sqlite:");
  const int64_t store_bytes = FileSize(std::string(store)).value_or(0);
  const int64_t log_bytes = BytesBelow(JoinPath(plan_.artifacts, "logs"));
  int64_t blob_bytes = 0;
  ASSIGN_OR_RETURN(const std::vector<NamedBlob> named, store_.NamedBlobs());
  for (const NamedBlob& blob : named) {
    const bool copied = !links_ && (earlier_.empty() ||
                                    !FileExists(JoinPath(earlier_, BackupPathOfBlob(blob.sha256))));
    if (copied) blob_bytes += blob.size_bytes;
  }
  const int64_t needed = store_bytes + blob_bytes + log_bytes;
  const int64_t free = DiskSpaceAt(directory_).free_bytes;
  if (needed <= free) return absl::OkStatus();
  return DiskFull(absl::StrCat("no room for the backup in ", DirectoryOf(plan_.to), ": it takes ",
                               FormatBytes(needed), " (store ", FormatBytes(store_bytes),
                               ", blobs ", FormatBytes(blob_bytes), ", logs ",
                               FormatBytes(log_bytes), "), and ", FormatBytes(free), " are free"));
}

absl::Status Backup::CopyStore() {
  manifest_.time = absl::FormatTime(absl::RFC3339_full, Clock::Real().Now(), absl::UTCTimeZone());
  manifest_.version = kVersion;
  const std::string path = Path(kBackupStore);
  RETURN_IF_ERROR(store_.CopyTo(path, [this](int64_t done, int64_t total) {
    return progress_(MakeProgress("store", done, total));
  }));
  ASSIGN_OR_RETURN(std::string sha256, Sha256HexOfFile(path));
  manifest_.files.push_back({kBackupStore, std::move(sha256)});
  return absl::OkStatus();
}

absl::Status Backup::CopyBlobs() {
  absl::StatusOr<StoreCopy> copy = ReadStoreCopy(Path(kBackupStore));
  if (absl::IsDataLoss(copy.status())) {
    return Annotate(copy.status(), "this would be no backup (keep the ones that you have)");
  }
  RETURN_IF_ERROR(copy.status());
  manifest_.store_id = copy->id;
  manifest_.schema = copy->schema;
  manifest_.jobs = copy->jobs;
  for (const NamedBlob& blob : copy->blobs) total_bytes_ += blob.size_bytes;
  const std::string* last = nullptr;
  for (const NamedBlob& blob : copy->blobs) {
    if (last == nullptr || *last != blob.sha256) RETURN_IF_ERROR(CopyBlob(blob));
    last = &blob.sha256;
    if (!progress_(MakeProgress("blobs", done_bytes_, total_bytes_))) return Ended();
  }
  return absl::OkStatus();
}

absl::Status Backup::CopyBlob(const NamedBlob& blob) {
  const std::string relative = BackupPathOfBlob(blob.sha256);
  RETURN_IF_ERROR(CreateDirectories(DirectoryOf(Path(relative))));
  const int64_t done_before = done_bytes_;
  const absl::Status copied = LinkOrCopyBlob(blob, Path(relative));
  done_bytes_ = done_before + blob.size_bytes;
  if (absl::IsNotFound(copied) || absl::IsDataLoss(copied)) {
    RETURN_IF_ERROR(RemoveTree(Path(relative)));
    manifest_.missing_blobs.push_back(blob.sha256);
    ASSIGN_OR_RETURN(const std::vector<std::string> namers, store_.NamersOf(blob.sha256));
    report_.add_missing(absl::StrCat(absl::StrJoin(namers, ", "), ": ", copied.message()));
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(copied);
  manifest_.files.push_back({relative, blob.sha256});
  ++manifest_.blobs;
  manifest_.blob_bytes += blob.size_bytes;
  return absl::OkStatus();
}

absl::Status Backup::LinkOrCopyBlob(const NamedBlob& blob, const std::string& to) {
  if (links_) return blobs_.Link(blob.sha256, to);
  if (!earlier_.empty()) {
    const std::string kept = JoinPath(earlier_, BackupPathOfBlob(blob.sha256));
    // What has rotted there is not handed on.
    const bool whole = Sha256HexOfFile(kept).value_or("") == blob.sha256;
    if (whole && LinkFile(kept, to).ok()) return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string from, blobs_.PathOf(blob.sha256));
  ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(from, O_RDONLY));
  ASSIGN_OR_RETURN(const CopiedFile copied,
                   CopyAndHash(file.get(), from, to, ModeOfCopy(to), [this](int64_t bytes) {
                     done_bytes_ += bytes;
                     return progress_(MakeProgress("blobs", done_bytes_, total_bytes_));
                   }));
  report_.set_copied_bytes(report_.copied_bytes() + copied.size_bytes);
  if (copied.sha256 == blob.sha256) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("blob ", blob.sha256, " changed while it was copied"));
}

absl::Status Backup::CopyLogs(const std::string& relative) {
  const absl::string_view below = absl::StripPrefix(relative, "artifacts/");
  const std::string from = JoinPath(plan_.artifacts, below);
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory(from);
  if (absl::IsNotFound(names.status())) return absl::OkStatus();
  RETURN_IF_ERROR(names.status());
  for (const std::string& name : *names) {
    const std::string path = JoinPath(relative, name);
    if (DirectoryExists(JoinPath(from, name))) {
      RETURN_IF_ERROR(CopyLogs(path));
    } else {
      RETURN_IF_ERROR(CopyFile(path));
    }
  }
  return absl::OkStatus();
}

absl::Status Backup::CopyFile(const std::string& relative) {
  const std::string from = JoinPath(plan_.artifacts, absl::StripPrefix(relative, "artifacts/"));
  const absl::StatusOr<UniqueFd> file = OpenFile(from, O_RDONLY);
  if (absl::IsNotFound(file.status())) return absl::OkStatus();
  RETURN_IF_ERROR(file.status());
  RETURN_IF_ERROR(CreateDirectories(DirectoryOf(Path(relative))));
  const CopyPace pace = [this](int64_t) { return progress_(MakeProgress("logs", 0, 0)); };
  ASSIGN_OR_RETURN(CopiedFile copied,
                   CopyAndHash(file->get(), from, Path(relative), ModeOfCopy(relative), pace));
  manifest_.files.push_back({relative, std::move(copied.sha256)});
  return absl::OkStatus();
}

absl::StatusOr<admin::v1::BackUpReport> Backup::Run() {
  if (!links_) earlier_ = EarlierBackup(plan_.to, store_.Id());
  RETURN_IF_ERROR(CheckRoom());
  RETURN_IF_ERROR(CopyStore());
  RETURN_IF_ERROR(CopyBlobs());
  const size_t files_before = manifest_.files.size();
  RETURN_IF_ERROR(CopyLogs(kLogs));
  report_.set_log_files(static_cast<int64_t>(manifest_.files.size() - files_before));
  RETURN_IF_ERROR(CopyFile(kOwner));
  RETURN_IF_ERROR(SyncDirectories(directory_));
  RETURN_IF_ERROR(WriteBackupManifest(directory_, manifest_));
  report_.set_directory(plan_.to);
  report_.set_jobs(manifest_.jobs);
  report_.set_blobs(manifest_.blobs);
  report_.set_blob_bytes(manifest_.blob_bytes);
  return std::move(report_);
}

}  // namespace

absl::StatusOr<admin::v1::BackUpReport> BackUp(JobStore& store, FileBlobStore& blobs,
                                               const BackupPlan& plan,
                                               const OperationProgress& progress) {
  ASSIGN_OR_RETURN(PartialDirectory directory, PartialDirectory::Create(plan.to));
  const std::shared_ptr<void> hold = blobs.HoldDeletions();
  ASSIGN_OR_RETURN(admin::v1::BackUpReport report,
                   Backup(store, blobs, plan, progress, directory.path()).Run());
  RETURN_IF_ERROR(directory.Finish());
  return report;
}

}  // namespace graft
