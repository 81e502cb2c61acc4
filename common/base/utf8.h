#pragma once

// Is it UTF-8, and making it so: what goes into a string field of a message must be, or the whole
// message cannot be read. All functions are pure and thread-safe.

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace graft {

// Offset of the first byte that is not part of well-formed UTF-8 (overlong forms, surrogates and
// values above U+10FFFF are not well-formed), or npos if all of it is.
size_t FindInvalidUtf8(absl::string_view text);

// How `text` begins: with a whole character, with the beginning of one that ends at the text's end,
// or with something that no continuation can make well-formed. `size` is the number of bytes (in
// the last case those that U+FFFD stands for: the "maximal subpart" of Unicode's chapter 3, as Rust
// and Python replace). `text` must not be empty.
struct Utf8Prefix {
  enum Kind { kCharacter, kIncomplete, kInvalid } kind;
  size_t size;
};
Utf8Prefix ReadUtf8Prefix(absl::string_view text);

// `bytes` with each ill-formed piece replaced by U+FFFD: what Rust's from_utf8_lossy and Python's
// errors="replace" give.
std::string ToValidUtf8(absl::string_view bytes);

// `text` for a message to people: of more than `max_bytes` those, cut between two characters, and
// "…"; ill-formed pieces replaced as by ToValidUtf8.
std::string Shortened(absl::string_view text, size_t max_bytes);

}  // namespace graft
