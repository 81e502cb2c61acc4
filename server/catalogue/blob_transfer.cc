#include "server/catalogue/blob_transfer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "server/catalogue/file_chunks.h"

namespace graft {

absl::Status BlobUploadSink::OnMessage(worker::v1::UploadBlobRequest& message) {
  if (writer_ == nullptr) {
    if (!message.has_metadata()) {
      return FieldViolation("metadata", "must be the first message of an upload");
    }
    BlobExpectation expected;
    expected.sha256 = message.metadata().sha256();
    expected.size_bytes = message.metadata().size_bytes();
    if (!IsSha256Hex(*expected.sha256)) {
      return FieldViolation("metadata.sha256", "must be 64 lower-case hexadecimal digits");
    }
    if (*expected.size_bytes < 0) {
      return FieldViolation("metadata.size_bytes", "must not be negative");
    }
    RETURN_IF_ERROR(room_.Begin(*expected.size_bytes));
    ASSIGN_OR_RETURN(writer_, blobs_.NewWriter(expected));
    return absl::OkStatus();
  }
  if (message.has_metadata()) return FieldViolation("metadata", "may come only once");
  if (message.data().size() > static_cast<size_t>(kMaxChunkBytes)) {
    return FieldViolation("data", absl::StrCat("has more than ", kMaxChunkBytes, " bytes"));
  }
  RETURN_IF_ERROR(room_.Grow(static_cast<int64_t>(message.data().size())));
  return writer_->Append(message.data());
}

absl::Status BlobUploadSink::OnEnd(const Gone& gone) {
  if (writer_ == nullptr) return FieldViolation("metadata", "the upload was empty");
  return writer_->Commit().status();
}

absl::StatusOr<std::unique_ptr<BlobFetchSource>> BlobFetchSource::Open(
    const BlobStore& blobs, const worker::v1::FetchBlobRequest& request) {
  ASSIGN_OR_RETURN(std::unique_ptr<BlobReader> blob, blobs.Open(request.sha256()));
  RETURN_IF_ERROR(CheckOffset(request.offset_bytes(), blob->size_bytes()));
  return std::unique_ptr<BlobFetchSource>(
      new BlobFetchSource(std::move(blob), request.offset_bytes()));
}

absl::StatusOr<SourceState> BlobFetchSource::Next(worker::v1::BlobChunk* chunk) {
  ASSIGN_OR_RETURN(std::string bytes, ReadChunk(*blob_, offset_));
  if (bytes.empty() && !first_) return SourceState::kEnd;
  if (first_) chunk->set_size_bytes(blob_->size_bytes());
  first_ = false;
  offset_ += static_cast<int64_t>(bytes.size());
  chunk->set_data(std::move(bytes));
  return SourceState::kMessage;
}

}  // namespace graft
