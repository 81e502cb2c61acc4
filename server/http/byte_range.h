#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace graft {

// Bytes of a file, the last one included; no `last`: to its end.
struct ByteRange {
  int64_t first = 0;
  std::optional<int64_t> last;
};

// What a Range header asks for: "bytes=100-199", "bytes=100-". Nothing: the whole file, as for
// forms that a server may leave out (several ranges, the last so many bytes) and for what is none.
std::optional<ByteRange> ParseByteRange(absl::string_view header);

}  // namespace graft
