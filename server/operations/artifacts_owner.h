#pragma once

// Whose an artifacts directory is. DIRECTORY/STORE names the store that its blobs, views and logs
// belong to: what another store does not name is garbage to that one, and would be deleted.
//
//   <id of the store>\n
//   <the --store that it was last used with>\n   for people

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/blobs/file_blob_store.h"
#include "server/store/job_store.h"

namespace graft {

struct ArtifactsOwner {
  std::string id;   // Empty: there is no STORE.
  std::string uri;  // As it was; for messages.
};
// DATA_LOSS: the file holds no id.
absl::StatusOr<ArtifactsOwner> ReadArtifactsOwner(const std::string& directory);
// Written and synced, file and directory, when this returns.
absl::Status WriteArtifactsOwner(const std::string& directory, const ArtifactsOwner& owner);

// Blobs that the store names, or named until something was deleted; and others.
struct BlobCounts {
  int64_t named = 0;
  int64_t unnamed = 0;
};
// Stops counting once it has seen `enough` named ones.
absl::StatusOr<BlobCounts> CountBlobs(JobStore& store, const FileBlobStore& blobs,
                                      int64_t enough = INT64_MAX);

// Makes the directory the store's, or finds it so, before anything is written there. One without
// STORE is adopted when it holds no blobs or one that the store names (an earlier graft's). A
// memory store empties what an earlier memory store left. FAILED_PRECONDITION: it is another
// store's, and what to do; nothing is changed. The caller holds the directory's lock.
absl::Status ClaimArtifacts(const std::string& directory, const std::string& uri, JobStore& store,
                            FileBlobStore& blobs);

}  // namespace graft
