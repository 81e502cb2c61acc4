#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/blobs/blob_store.h"
#include "server/streams/wanted.h"

namespace graft {

// Of a file of JSON lines that a worker made; a longer one is broken.
inline constexpr size_t kMaxArtifactLineBytes = 4 << 20;

// Calls `visit` for the lines of a blob, from 1, without their ends. A line and a piece of the blob
// are in memory. DATA_LOSS: a line is too long; errors of reading and of `visit`; CANCELLED: nobody
// waits any more.
absl::Status ForEachLine(
    const BlobReader& blob, const Gone& gone,
    const std::function<absl::Status(int64_t number, absl::string_view line)>& visit);

}  // namespace graft
