#include "server/catalogue/file_chunks.h"

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"

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

OutgoingFile BlobFile(BlobStore& blobs, const v1::Artifact& file, int64_t offset_bytes) {
  // The reader is shared only because a std::function is copyable.
  auto next = [&blobs, file, reader = std::shared_ptr<BlobReader>(),
               offset = offset_bytes]() mutable -> absl::StatusOr<std::string> {
    if (reader == nullptr) {
      auto opened = blobs.Open(file.sha256());
      // Its row says that it is there.
      if (absl::IsNotFound(opened.status())) {
        return absl::DataLossError(absl::StrCat(file.path(), ": ", opened.status().message()));
      }
      if (!opened.ok()) return Annotate(opened.status(), file.path());
      reader = *std::move(opened);
    }
    ASSIGN_OR_RETURN(std::string bytes, ReadChunk(*reader, offset));
    offset += static_cast<int64_t>(bytes.size());
    if (bytes.empty() && offset != file.size_bytes()) {
      return absl::DataLossError(
          absl::StrCat(file.path(), " ends after ", offset, " of ", file.size_bytes(), " bytes"));
    }
    return bytes;
  };
  return {file.path(), file.size_bytes(), std::move(next)};
}

OutgoingFile TextFile(std::string path, std::string text) {
  const auto size = static_cast<int64_t>(text.size());
  auto next = [text = std::move(text), offset = size_t{0}]() mutable {
    const std::string bytes = text.substr(offset, kDownloadChunkBytes);
    offset += bytes.size();
    return absl::StatusOr<std::string>(bytes);
  };
  return {std::move(path), size, std::move(next)};
}

OutgoingFile StreamFile(std::string path, SafetensorsStream stream) {
  const int64_t size = stream.size_bytes();
  return {std::move(path), size,
          [stream = std::move(stream)]() mutable { return stream.Next(kDownloadChunkBytes); }};
}

absl::StatusOr<SourceState> FileChunkSource::Next(v1::FileChunk* chunk) {
  for (; index_ < files_.size(); ++index_, begun_ = false) {
    const OutgoingFile& file = files_[index_];
    ASSIGN_OR_RETURN(std::string bytes, file.next());
    if (begun_ && bytes.empty()) continue;
    if (!begun_) {
      chunk->set_path(file.path);
      chunk->set_size_bytes(file.size_bytes);
    }
    begun_ = true;
    chunk->set_data(std::move(bytes));
    return SourceState::kMessage;
  }
  return SourceState::kEnd;
}

}  // namespace graft
