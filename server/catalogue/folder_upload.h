#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/blobs/file_blob_store.h"
#include "common/formats/manifest.h"
#include "graft/v1/job.pb.h"
#include "server/catalogue/upload_room.h"

namespace graft {

// Takes the files of a folder as they come in pieces, each begun by its path and size, and makes
// blobs of them. What was stored when it is given up is garbage that no row names.
class FolderUpload {
 public:
  FolderUpload(FileBlobStore& blobs, int max_files)
      : blobs_(blobs), max_files_(max_files), room_(blobs.root()) {}

  // INVALID_ARGUMENT: an unsafe path, one that came before, too many files, a piece before any
  // path, too large a piece, more bytes than said, or fewer in the file before.
  // RESOURCE_EXHAUSTED: see UploadRoom.
  absl::Status Add(const v1::FileChunk& chunk);
  // The files, sorted by path. INVALID_ARGUMENT: none came, or the last is too short; see
  // CheckManifest.
  absl::StatusOr<std::vector<ManifestFile>> Finish();

 private:
  absl::Status FinishFile();

  FileBlobStore& blobs_;
  const int max_files_;
  std::vector<ManifestFile> files_;
  std::string path_;  // Of the file that is being received.
  UploadRoom room_;
  std::unique_ptr<BlobWriter> writer_;
};

}  // namespace graft
