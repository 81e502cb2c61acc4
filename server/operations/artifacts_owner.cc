#include "server/operations/artifacts_owner.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr char kOwnerFile[] = "STORE";
constexpr int64_t kMaxOwnerBytes = 16 * 1024;

bool IsMemory(absl::string_view id) { return absl::StartsWith(id, kMemoryStorePrefix); }

absl::Status Refuse(const std::string& directory, const std::string& uri, const std::string& why,
                    const std::string& instead) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the artifacts in ", directory, " ", why, ", so this server would delete them. ", instead,
      "or give ", uri, " another directory (--artifacts DIR); or, if they are to be this store's, ",
      "look with \"graft-server check --store ", uri, " --artifacts ", directory,
      "\" and then add --adopt"));
}

absl::Status RefuseOther(const std::string& directory, const std::string& uri,
                         const std::string& id, const ArtifactsOwner& owner) {
  return Refuse(directory, uri,
                absl::StrCat("belong to the store ", owner.id, ", last used as ", owner.uri,
                             "; the store ", uri, " is ", id),
                absl::StrCat("Start with --store ", owner.uri, " (or where that file is now); "));
}

// What a memory store left is worth nothing without it.
absl::Status Empty(const std::string& directory, const FileBlobStore& blobs) {
  const std::string objects = JoinPath(blobs.root(), "objects");
  RETURN_IF_ERROR(RemoveTree(objects));
  for (const char* name : {"adapters", "models", "evaluations", "staging", "logs"}) {
    RETURN_IF_ERROR(RemoveTree(JoinPath(directory, name)));
  }
  return CreateDirectories(objects);
}

}  // namespace

absl::StatusOr<ArtifactsOwner> ReadArtifactsOwner(const std::string& directory) {
  const std::string path = JoinPath(directory, kOwnerFile);
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxOwnerBytes);
  if (absl::IsNotFound(text.status())) return ArtifactsOwner();
  RETURN_IF_ERROR(text.status());
  const std::vector<std::string> lines = absl::StrSplit(*text, '\n');
  if (lines[0].empty()) {
    return absl::DataLossError(absl::StrCat(
        path, ": its first line must be a store's id; \"graft-server check --adopt\" writes it"));
  }
  return ArtifactsOwner{lines[0], lines.size() > 1 ? lines[1] : ""};
}

absl::Status WriteArtifactsOwner(const std::string& directory, const ArtifactsOwner& owner) {
  return WriteFileAtomically(JoinPath(directory, kOwnerFile),
                             absl::StrCat(owner.id, "\n", owner.uri, "\n"));
}

absl::StatusOr<BlobCounts> CountBlobs(JobStore& store, const FileBlobStore& blobs, int64_t enough) {
  ASSIGN_OR_RETURN(const std::vector<std::string> listed, store.ReleasedBlobs());
  const std::set<std::string> released(listed.begin(), listed.end());
  BlobCounts counts;
  absl::Status trouble;
  RETURN_IF_ERROR(blobs.ForEach([&](const BlobInfo& blob) {
    absl::StatusOr<bool> named = released.count(blob.sha256) > 0;
    if (!*named) named = store.IsBlobReferenced(blob.sha256);
    trouble = named.status();
    if (!named.ok()) return false;
    ++(*named ? counts.named : counts.unnamed);
    return counts.named < enough;
  }));
  RETURN_IF_ERROR(trouble);
  return counts;
}

absl::Status ClaimArtifacts(const std::string& directory, const std::string& uri, JobStore& store,
                            FileBlobStore& blobs) {
  const ArtifactsOwner mine = {store.Id(), uri};
  ASSIGN_OR_RETURN(const ArtifactsOwner owner, ReadArtifactsOwner(directory));
  if (owner.id == mine.id && owner.uri == mine.uri) return absl::OkStatus();
  if (!owner.id.empty() && owner.id != mine.id) {
    if (!IsMemory(owner.id) || !IsMemory(mine.id)) {
      return RefuseOther(directory, uri, mine.id, owner);
    }
    RETURN_IF_ERROR(Empty(directory, blobs));
  }
  if (owner.id.empty()) {
    ASSIGN_OR_RETURN(const BlobCounts counts, CountBlobs(store, blobs, /*enough=*/1));
    if (counts.named == 0 && counts.unnamed > 0) {
      return Refuse(directory, uri,
                    absl::StrCat("do not say whose they are, and of their ", counts.unnamed,
                                 " blobs the store ", uri, " (", mine.id, ") names none"),
                    "Start with the --store that they were made with; ");
    }
  }
  return WriteArtifactsOwner(directory, mine);
}

}  // namespace graft
