#pragma once

// Verbs about blobs that nothing names any more, for whoever deletes them (server/operations).

#include <vector>

#include "server/store/verb_context.h"

namespace graft {

absl::StatusOr<std::vector<UnnamedBlob>> DoUnnamedBlobs(VerbContext& context);
absl::Status DoNoteUnnamedBlobs(VerbContext& context, absl::Span<const UnnamedBlob> blobs);

}  // namespace graft
