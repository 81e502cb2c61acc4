#include "server/rpc/file_chunks.h"

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/jobs/status_details.h"

namespace graft {

absl::Status CheckOffset(int64_t offset_bytes, int64_t size_bytes) {
  if (offset_bytes < 0) return FieldViolation("offset_bytes", "must not be negative");
  if (offset_bytes > size_bytes) {
    return absl::OutOfRangeError(absl::StrCat("offset_bytes ", offset_bytes,
                                              " is beyond the end of the file, ", size_bytes));
  }
  return absl::OkStatus();
}

absl::Status CheckPaging(int page_size, const std::string& page_token) {
  Violations violations;
  if (page_size < 0) violations.Add("page_size", "must not be negative");
  if (page_token.size() > static_cast<size_t>(kMaxPageTokenBytes)) {
    violations.Add("page_token", "is no token of an earlier answer");
  }
  return violations.ToStatus();
}

absl::StatusOr<std::string> ReadChunk(const BlobReader& blob, int64_t offset) {
  std::string bytes(kDownloadChunkBytes, '\0');
  ASSIGN_OR_RETURN(const size_t count,
                   blob.ReadAt(offset, absl::MakeSpan(&bytes[0], bytes.size())));
  bytes.resize(count);
  return bytes;
}

absl::StatusOr<SourceState> FileChunkSource::Next(v1::FileChunk* chunk) {
  while (index_ < files_.size()) {
    const v1::Artifact& file = files_[index_];
    const bool first = reader_ == nullptr;
    if (first) {
      auto opened = blobs_.Open(file.sha256());
      if (!opened.ok()) {
        return absl::DataLossError(absl::StrCat(file.path(), ": ", opened.status().message()));
      }
      reader_ = *std::move(opened);
      chunk->set_path(file.path());
      chunk->set_size_bytes(file.size_bytes());
    }
    ASSIGN_OR_RETURN(std::string bytes, ReadChunk(*reader_, offset_));
    offset_ += static_cast<int64_t>(bytes.size());
    if (!bytes.empty() || first) {
      chunk->set_data(std::move(bytes));
      return SourceState::kMessage;
    }
    if (offset_ != file.size_bytes()) {
      return absl::DataLossError(
          absl::StrCat(file.path(), " ends after ", offset_, " of ", file.size_bytes(), " bytes"));
    }
    ++index_;
    offset_ = 0;
    reader_ = nullptr;
  }
  return SourceState::kEnd;
}

}  // namespace graft
