#include "server/operations/operations.h"

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "server/operations/artifacts_owner.h"
#include "server/operations/backup.h"
#include "server/operations/garbage.h"
#include "server/operations/store_check.h"

namespace graft {

absl::StatusOr<admin::v1::CheckReport> Operations::Check(const admin::v1::CheckRequest& request,
                                                         const OperationProgress& progress) {
  ASSIGN_OR_RETURN(admin::v1::CheckReport report,
                   CheckStore(parts_.store, parts_.blobs, request, progress));
  absl::StatusOr<ArtifactsOwner> owner = ReadArtifactsOwner(parts_.artifacts);
  // A STORE that holds no id is what --adopt mends.
  if (absl::IsDataLoss(owner.status())) owner = ArtifactsOwner();
  RETURN_IF_ERROR(owner.status());
  report.set_store(parts_.store_uri);
  report.set_store_id(parts_.store.Id());
  report.set_artifacts(parts_.artifacts);
  report.set_owner_id(owner->id);
  report.set_owner_store(owner->uri);
  return report;
}

absl::StatusOr<admin::v1::BackUpReport> Operations::MakeBackup(
    const admin::v1::BackUpRequest& request, const OperationProgress& progress) {
  if (!absl::StartsWith(request.to(), "/")) {
    return absl::InvalidArgumentError("the place of a backup is an absolute path");
  }
  {
    MutexLock lock(mutex_);
    if (!backup_to_.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("a backup to ", backup_to_, " is under way; wait for its end"));
    }
    backup_to_ = request.to();
  }
  const absl::Cleanup over = [this] {
    MutexLock lock(mutex_);
    backup_to_.clear();
  };
  return BackUp(parts_.store, parts_.blobs, {request.to(), parts_.artifacts, parts_.store_uri},
                progress);
}

absl::StatusOr<admin::v1::CollectGarbageReport> Operations::Collect(
    const admin::v1::CollectGarbageRequest& request) {
  if (request.dry_run()) return LookForGarbage(parts_.store, parts_.blobs, parts_.logs, {});
  return CollectNow(parts_.store, parts_.blobs, parts_.logs, {});
}

}  // namespace graft
