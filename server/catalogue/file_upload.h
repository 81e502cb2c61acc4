#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/blobs/blob_store.h"
#include "server/catalogue/catalogue.h"
#include "server/catalogue/upload_room.h"

namespace graft {

// What is said of a file before it is sent.
struct AnnouncedFile {
  std::string field;  // That says it, for errors: "metadata".
  std::optional<int64_t> size_bytes;
  std::string sha256;        // Empty: not said.
  int64_t offset_bytes = 0;  // Where what is sent begins.
};

// A file that is being received: as long as there is room, and to go on with where it breaks, if
// its hash and size were announced. One thread at a time.
class FileUpload {
 public:
  explicit FileUpload(const Catalogue& catalogue);

  // INVALID_ARGUMENT: what is said cannot be; RESOURCE_EXHAUSTED: see UploadRoom; codes of
  // PartialUploads::Resume.
  absl::Status Begin(const AnnouncedFile& file);
  bool begun() const { return writer_ != nullptr; }
  // After Begin. RESOURCE_EXHAUSTED: see UploadRoom; codes of BlobWriter, and of PartialUploads.
  absl::Status Append(absl::string_view bytes);
  // After it, another file may begin. Codes of Append.
  absl::StatusOr<BlobInfo> Commit();

 private:
  const Catalogue& catalogue_;
  UploadRoom room_;
  std::unique_ptr<BlobWriter> writer_;
};

// INVALID_ARGUMENT, of `field`: a piece of a file has more than kMaxChunkBytes.
absl::Status CheckPiece(absl::string_view bytes, absl::string_view field);

}  // namespace graft
