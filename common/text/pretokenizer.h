#pragma once

// GPT-2's pre-tokeniser: cuts text into the words that BPE never merges across. It is the regular
// expression
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// (openai/gpt-2 src/encoder.py; ByteLevel of `tokenizers`) written by hand, with that library's
// character classes.

#include <array>

#include "common/text/unicode.h"

namespace graft {

// Stateless but for the tables; thread-safe.
class Gpt2PreTokenizer {
 public:
  Gpt2PreTokenizer();

  // End of the word that begins at `begin` (< `end`). The bytes up to `end` must be valid UTF-8.
  const char* WordEnd(const char* begin, const char* end) const;

 private:
  DecodedChar Decode(const char* p, CharClass* char_class) const;
  const char* SkipClass(const char* p, const char* end, CharClass char_class) const;
  const char* SpaceEnd(const char* begin, const char* end) const;

  const CharClasses& classes_;
  std::array<CharClass, 128> ascii_;
};

}  // namespace graft
