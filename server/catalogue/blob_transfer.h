#pragma once

// Blobs between workers and the server: what UploadBlob and FetchBlob do.

#include <memory>
#include <string>

#include "common/blobs/file_blob_store.h"
#include "graft/worker/v1/worker.pb.h"
#include "server/catalogue/upload_room.h"
#include "server/streams/message_stream.h"

namespace graft {

// Takes one blob. INVALID_ARGUMENT: no metadata first, no hash, another number of bytes than said,
// or too large a piece; DATA_LOSS: other bytes than the hash says; RESOURCE_EXHAUSTED: see
// UploadRoom. Nothing is stored then.
class BlobUploadSink : public MessageSink<worker::v1::UploadBlobRequest> {
 public:
  explicit BlobUploadSink(FileBlobStore& blobs) : blobs_(blobs), room_(blobs) {}
  absl::Status OnMessage(worker::v1::UploadBlobRequest& message) override;
  absl::Status OnEnd(const Gone& gone) override;

 private:
  FileBlobStore& blobs_;
  UploadRoom room_;
  std::unique_ptr<BlobWriter> writer_;
};

class BlobFetchSource : public MessageSource<worker::v1::BlobChunk> {
 public:
  // NOT_FOUND; INVALID_ARGUMENT, OUT_OF_RANGE: the offset.
  static absl::StatusOr<std::unique_ptr<BlobFetchSource>> Open(
      const BlobStore& blobs, const worker::v1::FetchBlobRequest& request);
  absl::StatusOr<SourceState> Next(worker::v1::BlobChunk* chunk) override;

 private:
  BlobFetchSource(std::unique_ptr<BlobReader> blob, int64_t offset)
      : blob_(std::move(blob)), offset_(offset) {}

  const std::unique_ptr<BlobReader> blob_;
  int64_t offset_;
  bool first_ = true;
};

}  // namespace graft
