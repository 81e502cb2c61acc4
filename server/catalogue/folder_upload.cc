#include "server/catalogue/folder_upload.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"

namespace graft {

absl::Status FolderUpload::Add(const v1::FileChunk& chunk) {
  if (chunk.data().size() > static_cast<size_t>(kMaxChunkBytes)) {
    return FieldViolation("chunk.data", absl::StrCat("has more than ", kMaxChunkBytes, " bytes"));
  }
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
    if (chunk.size_bytes() < 0) {
      return FieldViolation("chunk.size_bytes", "must not be negative");
    }
    RETURN_IF_ERROR(Annotate(room_.Begin(chunk.size_bytes()), chunk.path()));
    BlobExpectation expected;
    expected.size_bytes = chunk.size_bytes();
    ASSIGN_OR_RETURN(writer_, blobs_.NewWriter(expected));
    path_ = chunk.path();
  }
  if (writer_ == nullptr) {
    return FieldViolation("chunk.path", "must be set in the first piece of a file");
  }
  RETURN_IF_ERROR(Annotate(room_.Grow(static_cast<int64_t>(chunk.data().size())), path_));
  return Annotate(writer_->Append(chunk.data()), path_);
}

absl::Status FolderUpload::FinishFile() {
  if (writer_ == nullptr) return absl::OkStatus();
  const std::unique_ptr<BlobWriter> writer = std::move(writer_);
  const absl::StatusOr<BlobInfo> blob = writer->Commit();
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
