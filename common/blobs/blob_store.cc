#include "common/blobs/blob_store.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"

namespace graft {

namespace {
constexpr size_t kPieceBytes = size_t{1} << 20;
}  // namespace

absl::StatusOr<BlobInfo> BlobStore::Put(absl::string_view bytes) {
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> writer, NewWriter({}));
  RETURN_IF_ERROR(writer->Append(bytes));
  return writer->Commit();
}

absl::StatusOr<std::string> BlobStore::Get(absl::string_view sha256, int64_t max_bytes) const {
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> reader, Open(sha256));
  if (reader->size_bytes() > max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("blob ", sha256, " has ", reader->size_bytes(),
                                                     " bytes; at most ", max_bytes, " are read"));
  }
  std::string bytes(static_cast<size_t>(reader->size_bytes()), '\0');
  ASSIGN_OR_RETURN(const size_t count, reader->ReadAt(0, absl::MakeSpan(bytes)));
  if (count != bytes.size()) {
    return absl::DataLossError(absl::StrCat("blob ", sha256, " is shorter than it was"));
  }
  return bytes;
}

absl::Status BlobStore::Verify(absl::string_view sha256) const {
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> reader, Open(sha256));
  Sha256 hash;
  std::vector<char> buffer(kPieceBytes);
  for (int64_t offset = 0;;) {
    ASSIGN_OR_RETURN(const size_t count, reader->ReadAt(offset, absl::MakeSpan(buffer)));
    if (count == 0) break;
    hash.Update(absl::string_view(buffer.data(), count));
    offset += static_cast<int64_t>(count);
  }
  if (hash.Hex() != sha256) {
    return absl::DataLossError(
        absl::StrCat("blob ", sha256, " is corrupt: its bytes hash to ", hash.Hex()));
  }
  return absl::OkStatus();
}

}  // namespace graft
