#pragma once

// UTF-8 and the character classes of the GPT-2 pre-tokeniser. All functions are pure and
// thread-safe.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace graft {

enum class CharClass : uint8_t { kOther = 0, kLetter = 1, kNumber = 2, kSpace = 3 };

// Class of any code point in two loads. \p{L}, \p{N} and \s as the `tokenizers` library has them;
// surrogates are kOther.
class CharClasses {
 public:
  static const CharClasses& Get();

  // `code_point` must be ≤ 0x10FFFF.
  CharClass Of(char32_t code_point) const {
    return static_cast<CharClass>(blocks_[block_of_[code_point >> kShift]][code_point & kMask]);
  }

 private:
  static constexpr int kShift = 7;
  static constexpr char32_t kMask = (1 << kShift) - 1;
  static constexpr size_t kBlockCount = 0x110000 >> kShift;

  CharClasses();

  uint16_t block_of_[kBlockCount];
  std::unique_ptr<uint8_t[][kMask + 1]> blocks_;  // equal blocks are stored once
};

// Offset of the first byte that is not part of well-formed UTF-8 (overlong forms, surrogates and
// values above U+10FFFF are not well-formed), or npos if all of it is.
size_t FindInvalidUtf8(absl::string_view text);

// A decoded character and its length in bytes.
struct DecodedChar {
  char32_t code_point;
  size_t size;
};

// Decodes the character at `text`, which must be well-formed UTF-8 (checked before with
// FindInvalidUtf8).
inline DecodedChar DecodeValidUtf8(const char* text) {
  const auto* p = reinterpret_cast<const unsigned char*>(text);
  if (p[0] < 0x80) return {p[0], 1};
  if (p[0] < 0xE0) return {static_cast<char32_t>((p[0] & 0x1F) << 6 | (p[1] & 0x3F)), 2};
  if (p[0] < 0xF0) {
    return {static_cast<char32_t>((p[0] & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F)), 3};
  }
  return {static_cast<char32_t>((p[0] & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 |
                                (p[3] & 0x3F)),
          4};
}

void AppendUtf8(char32_t code_point, std::string* out);

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

}  // namespace graft
