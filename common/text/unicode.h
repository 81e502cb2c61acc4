#pragma once

// Characters of UTF-8 and the classes of the GPT-2 pre-tokeniser. All functions are pure and
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

}  // namespace graft
