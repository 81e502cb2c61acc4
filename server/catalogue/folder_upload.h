#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/blobs/blob_store.h"
#include "common/formats/manifest.h"
#include "graft/v1/job.pb.h"

namespace graft {

std::vector<ManifestFile> ToManifest(const google::protobuf::RepeatedPtrField<v1::Artifact>& files);
v1::Artifact ToArtifact(const ManifestFile& file);

// Takes the files of a folder as they come in pieces, each begun by its path and size, and makes
// blobs of them. What was stored when it is given up is garbage that no row names.
class FolderUpload {
 public:
  FolderUpload(BlobStore& blobs, int max_files) : blobs_(blobs), max_files_(max_files) {}

  // INVALID_ARGUMENT: an unsafe path, one that came before, too many files, a piece before any
  // path, too large a piece, more bytes than said, or fewer in the file before.
  absl::Status Add(const v1::FileChunk& chunk);
  // The files, sorted by path. INVALID_ARGUMENT: none came, or the last is too short; see
  // CheckManifest.
  absl::StatusOr<std::vector<ManifestFile>> Finish();

 private:
  absl::Status FinishFile();

  BlobStore& blobs_;
  const int max_files_;
  std::vector<ManifestFile> files_;
  std::string path_;  // Of the file that is being received.
  std::unique_ptr<BlobWriter> writer_;
};

}  // namespace graft
