#include "server/store/blob_verbs.h"

namespace graft {

absl::StatusOr<std::vector<UnnamedBlob>> DoUnnamedBlobs(VerbContext& context) {
  ASSIGN_OR_RETURN(const auto rows, context.tables.ListUnnamedBlobs());
  std::vector<UnnamedBlob> blobs;
  for (const UnnamedBlobRow& row : rows) {
    blobs.push_back({row.sha256, row.stamp, context.running_time - row.since});
  }
  return blobs;
}

absl::Status DoNoteUnnamedBlobs(VerbContext& context, absl::Span<const UnnamedBlob> blobs) {
  for (const UnnamedBlob& blob : blobs) {
    RETURN_IF_ERROR(
        context.tables.PutUnnamedBlob({blob.sha256, context.running_time - blob.age, blob.stamp}));
  }
  return absl::OkStatus();
}

}  // namespace graft
