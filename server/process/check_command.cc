#include "server/process/check_command.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "server/process/artifacts_owner.h"
#include "server/process/data_locks.h"

namespace graft {
namespace {

// A look must not make a store where there is none.
absl::Status CheckStoreIsThere(absl::string_view uri) {
  absl::string_view path = uri;
  if (!absl::ConsumePrefix(&path, "sqlite:")) {
    return absl::InvalidArgumentError(
        absl::StrCat("--store: ", uri, " forgets all at its end; there is nothing to check"));
  }
  if (FileExists(std::string(path))) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("--store: there is no file ", path));
}

void Print(const ServerFlags& flags, const JobStore& store, const ArtifactsOwner& owner,
           const BlobCounts& counts) {
  const std::string whose = owner.id.empty() ? "do not say whose they are"
                                             : absl::StrCat("belong to the store ", owner.id,
                                                            ", last used as ", owner.uri);
  std::printf("artifacts: those in %s %s\n", flags.artifacts.c_str(), whose.c_str());
  std::printf("store:     %s is the store %s\n", flags.store.c_str(), store.Id().c_str());
  std::printf("blobs:     the store names %lld and does not name %lld\n",
              static_cast<long long>(counts.named), static_cast<long long>(counts.unnamed));
}

}  // namespace

absl::Status CheckData(ServerFlags flags) {
  RETURN_IF_ERROR(CompleteServerFlags(flags));
  RETURN_IF_ERROR(CheckStoreIsThere(flags.store));
  ASSIGN_OR_RETURN(const std::vector<ProcessLock> locks, LockDirectories(flags));
  ASSIGN_OR_RETURN(const std::unique_ptr<JobStore> store, OpenJobStore(flags.store, {}));
  ASSIGN_OR_RETURN(const std::unique_ptr<FileBlobStore> blobs,
                   FileBlobStore::Open(JoinPath(flags.artifacts, "blobs")));
  absl::StatusOr<ArtifactsOwner> owner = ReadArtifactsOwner(flags.artifacts);
  // A STORE that holds no id is what --adopt mends.
  if (absl::IsDataLoss(owner.status())) owner = ArtifactsOwner();
  RETURN_IF_ERROR(owner.status());
  ASSIGN_OR_RETURN(const BlobCounts counts, CountBlobs(*store, *blobs));
  Print(flags, *store, *owner, counts);
  if (owner->id == store->Id()) {
    std::printf("The artifacts are this store's.\n");
    return absl::OkStatus();
  }
  std::printf(
      "Adopted, they are this store's: a server with it deletes, after a day of running, the %lld "
      "blobs that the store does not name, and at once the folders and logs of what it does not "
      "know.\n",
      static_cast<long long>(counts.unnamed));
  if (!flags.check_adopt) {
    return absl::FailedPreconditionError("the artifacts are not this store's; --adopt makes them");
  }
  RETURN_IF_ERROR(WriteArtifactsOwner(flags.artifacts, {store->Id(), flags.store}));
  std::printf("Adopted.\n");
  return absl::OkStatus();
}

}  // namespace graft
