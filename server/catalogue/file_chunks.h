#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/blobs/blob_store.h"
#include "common/formats/safetensors_stream.h"
#include "graft/v1/job.pb.h"
#include "server/streams/message_stream.h"

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

// A file as it is sent.
struct OutgoingFile {
  std::string path;
  int64_t size_bytes = 0;
  // The next bytes, at most kDownloadChunkBytes; empty at the end. An error ends the download.
  std::function<absl::StatusOr<std::string>()> next;
};

// DATA_LOSS when the blob is missing; codes of BlobStore::Open. `offset_bytes` is where it begins.
// `blobs` outlives it.
OutgoingFile BlobFile(BlobStore& blobs, const v1::Artifact& file, int64_t offset_bytes = 0);
OutgoingFile TextFile(std::string path, std::string text);
OutgoingFile StreamFile(std::string path, SafetensorsStream stream);

// Sends files, one after the other, each begun by its path and size.
class FileChunkSource : public MessageSource<v1::FileChunk> {
 public:
  // `owner`, where there is one, holds what the files are read from.
  explicit FileChunkSource(std::vector<OutgoingFile> files,
                           std::shared_ptr<const void> owner = nullptr)
      : owner_(std::move(owner)), files_(std::move(files)) {}

  absl::StatusOr<SourceState> Next(v1::FileChunk* chunk) override;

 private:
  const std::shared_ptr<const void> owner_;
  const std::vector<OutgoingFile> files_;
  size_t index_ = 0;
  bool begun_ = false;  // The present file.
};

}  // namespace graft
