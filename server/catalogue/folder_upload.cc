#include "server/catalogue/folder_upload.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"

namespace graft {

absl::Status FolderUpload::Add(const v1::FileChunk& chunk) {
  RETURN_IF_ERROR(CheckPiece(chunk.data(), "chunk.data"));
  if (!chunk.path().empty()) {
    RETURN_IF_ERROR(FinishFile());
    if (static_cast<int>(files_.size()) >= max_files_) {
      return FieldViolation("chunk.path", absl::StrCat("more than ", max_files_, " files"));
    }
    // The path alone is judged here, before a byte is stored; sizes and hashes are our own.
    const ManifestFile file = {chunk.path(), 0, std::string(64, '0')};
    const absl::Status named = CheckManifest({file});
    if (!named.ok()) return FieldViolation("chunk.path", named.message());
    for (const ManifestFile& other : files_) {
      if (other.path == chunk.path()) {
        return FieldViolation("chunk.path", absl::StrCat("\"", chunk.path(), "\" came twice"));
      }
    }
    path_ = chunk.path();
    RETURN_IF_ERROR(Annotate(
        file_.Begin({"chunk", chunk.size_bytes(), chunk.sha256(), chunk.offset_bytes()}), path_));
  }
  if (!file_.begun()) {
    return FieldViolation("chunk.path", "must be set in the first piece of a file");
  }
  return Annotate(file_.Append(chunk.data()), path_);
}

absl::Status FolderUpload::FinishFile() {
  if (!file_.begun()) return absl::OkStatus();
  const absl::StatusOr<BlobInfo> blob = file_.Commit();
  if (!blob.ok()) return Annotate(blob.status(), path_);
  files_.push_back({path_, blob->size_bytes, blob->sha256});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ManifestFile>> FolderUpload::Finish() {
  RETURN_IF_ERROR(FinishFile());
  if (files_.empty()) return FieldViolation("chunk", "no file was sent");
  RETURN_IF_ERROR(CheckManifest(files_));
  std::sort(files_.begin(), files_.end(),
            [](const ManifestFile& a, const ManifestFile& b) { return a.path < b.path; });
  return std::move(files_);
}

}  // namespace graft
