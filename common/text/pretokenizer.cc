#include "common/text/pretokenizer.h"

namespace graft {
namespace {

// Length of the contraction ('s, 't, 're, 've, 'm, 'll, 'd; lower case only) that the apostrophe at
// `p` begins, or 0.
int ContractionSize(const char* p, const char* end) {
  if (end - p < 2) return 0;
  switch (p[1]) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return 2;
    case 'r':
    case 'v':
      return end - p >= 3 && p[2] == 'e' ? 3 : 0;
    case 'l':
      return end - p >= 3 && p[2] == 'l' ? 3 : 0;
    default:
      return 0;
  }
}

}  // namespace

Gpt2PreTokenizer::Gpt2PreTokenizer() : classes_(CharClasses::Get()) {
  for (char32_t c = 0; c < 128; ++c) ascii_[c] = classes_.Of(c);
}

DecodedChar Gpt2PreTokenizer::Decode(const char* p, CharClass* char_class) const {
  const auto first = static_cast<unsigned char>(*p);
  if (first < 0x80) {
    *char_class = ascii_[first];
    return {first, 1};
  }
  const DecodedChar decoded = DecodeValidUtf8(p);
  *char_class = classes_.Of(decoded.code_point);
  return decoded;
}

const char* Gpt2PreTokenizer::SkipClass(const char* p, const char* end,
                                        CharClass char_class) const {
  while (p < end) {
    CharClass next;
    const size_t size = Decode(p, &next).size;
    if (next != char_class) return p;
    p += size;
  }
  return end;
}

// \s+(?!\S)|\s+ : a run of white space leaves its last character to the word behind it, if it has
// another.
const char* Gpt2PreTokenizer::SpaceEnd(const char* begin, const char* end) const {
  const char* run_end = SkipClass(begin, end, CharClass::kSpace);
  if (run_end == end) return end;
  const char* last = run_end - 1;
  while ((static_cast<unsigned char>(*last) & 0xC0) == 0x80) --last;
  return last > begin ? last : run_end;
}

const char* Gpt2PreTokenizer::WordEnd(const char* begin, const char* end) const {
  if (*begin == '\'') {
    if (const int size = ContractionSize(begin, end)) return begin + size;
  }
  const char* p = begin;
  if (*p == ' ' && p + 1 < end) ++p;  // " ?": one space belongs to the word behind it
  CharClass char_class;
  const size_t size = Decode(p, &char_class).size;
  if (char_class == CharClass::kSpace) return SpaceEnd(begin, end);
  return SkipClass(p + size, end, char_class);
}

}  // namespace graft
