#pragma once

// gzip (RFC 1952) unpacked while it is read.

#include <cstdint>

#include "common/text/row_splitter.h"

namespace graft {

// What a file may unpack to: a small one may claim to hold more than anybody can read.
inline constexpr int64_t kMaxUnpackedBytes = int64_t{64} << 30;

// What `source` gives; if that begins as gzip does, the content of all its members, one after the
// other. It is read once, from its beginning to its end, and so is what is returned: each call asks
// for the bytes behind those of the call before. INVALID_ARGUMENT: it is broken or ends too early
// (naming the byte), or unpacks to more than `max_bytes`.
RowSplitter::ByteSource Unpacked(RowSplitter::ByteSource source,
                                 int64_t max_bytes = kMaxUnpackedBytes);

}  // namespace graft
