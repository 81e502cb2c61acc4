#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/formats/manifest.h"
#include "graft/v1/job.pb.h"
#include "server/catalogue/file_upload.h"

namespace graft {

// Takes the files of a folder as they come in pieces, each begun by its path and size, and makes
// blobs of them. What was stored when it is given up is a partial upload, or garbage that no
// row names.
class FolderUpload {
 public:
  FolderUpload(const Catalogue& catalogue, int max_files)
      : max_files_(max_files), file_(catalogue) {}

  // INVALID_ARGUMENT: an unsafe path, one that came before, too many files, a piece before any
  // path, too large a piece, more bytes than said, or fewer in the file before.
  // Codes of FileUpload.
  absl::Status Add(const v1::FileChunk& chunk);
  // The files, sorted by path. INVALID_ARGUMENT: none came, or the last is too short; see
  // CheckManifest.
  absl::StatusOr<std::vector<ManifestFile>> Finish();

 private:
  absl::Status FinishFile();

  const int max_files_;
  std::vector<ManifestFile> files_;
  std::string path_;  // Of the file that is being received.
  FileUpload file_;
};

}  // namespace graft
