#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/blobs/blob_store.h"
#include "graft/v1/job.pb.h"
#include "server/rpc/streams.h"

namespace graft {

// Bytes in one message of a download. What a stream that is not read costs.
inline constexpr int64_t kDownloadChunkBytes = 128 * 1024;

// INVALID_ARGUMENT: negative; OUT_OF_RANGE: beyond the end.
absl::Status CheckOffset(int64_t offset_bytes, int64_t size_bytes);
// INVALID_ARGUMENT: a negative page size, or too long a token. 0 means the default; more than the
// greatest size counts as that.
absl::Status CheckPaging(int page_size, const std::string& page_token);

// At most kDownloadChunkBytes from `offset`; empty at the end.
absl::StatusOr<std::string> ReadChunk(const BlobReader& blob, int64_t offset);

// Sends files, one after the other, each begun by its path and size.
class FileChunkSource : public MessageSource<v1::FileChunk> {
 public:
  // `offset_bytes` is where the first of them begins.
  FileChunkSource(BlobStore& blobs, std::vector<v1::Artifact> files, int64_t offset_bytes)
      : blobs_(blobs), files_(std::move(files)), offset_(offset_bytes) {}

  // DATA_LOSS: a blob is missing or shorter than its manifest says.
  absl::StatusOr<SourceState> Next(v1::FileChunk* chunk) override;

 private:
  BlobStore& blobs_;
  const std::vector<v1::Artifact> files_;
  int64_t offset_;  // In the present file.
  size_t index_ = 0;
  std::unique_ptr<BlobReader> reader_;  // Of the present file, once it is begun.
};

}  // namespace graft
