#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace graft {

// Bytes of a file's beginning that CheckIsText wants to see, if it has so many.
inline constexpr size_t kSniffedBytes = 4096;

// Files that people take for text with one row a line. INVALID_ARGUMENT: what begins so is
// something else (packed, binary, in another encoding, a pointer to the file), which it names, with
// the command that makes rows of it; "FILE" stands for the file there.
absl::Status CheckIsText(absl::string_view head);

// The same of what should be JSON lines: one list of all rows, or objects over several lines.
absl::Status CheckIsJsonLines(absl::string_view head);

}  // namespace graft
