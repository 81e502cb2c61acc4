#include "common/text/unicode.h"

#include <cstring>
#include <map>
#include <vector>

#include "common/text/unicode_tables.h"

namespace graft {
namespace {

void Mark(const CodePointRange* ranges, size_t count, CharClass char_class, std::string* class_of) {
  for (size_t i = 0; i < count; ++i) {
    for (char32_t c = ranges[i].first; c <= ranges[i].last; ++c) {
      (*class_of)[c] = static_cast<char>(char_class);
    }
  }
}

}  // namespace

CharClasses::CharClasses() {
  std::string class_of(0x110000, static_cast<char>(CharClass::kOther));
  Mark(kLetterRanges, kLetterRangeCount, CharClass::kLetter, &class_of);
  Mark(kNumberRanges, kNumberRangeCount, CharClass::kNumber, &class_of);
  Mark(kSpaceRanges, kSpaceRangeCount, CharClass::kSpace, &class_of);
  std::map<std::string, uint16_t> index_of;
  std::string distinct;
  for (size_t block = 0; block < kBlockCount; ++block) {
    const std::string content = class_of.substr(block << kShift, kMask + 1);
    const auto [it, inserted] = index_of.try_emplace(content, index_of.size());
    if (inserted) distinct += content;
    block_of_[block] = it->second;
  }
  blocks_ = std::make_unique<uint8_t[][kMask + 1]>(index_of.size());
  std::memcpy(blocks_.get(), distinct.data(), distinct.size());
}

const CharClasses& CharClasses::Get() {
  static const CharClasses classes;
  return classes;
}

void AppendUtf8(char32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->push_back(static_cast<char>(0xC0 | c >> 6));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | c >> 12));
    out->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else {
    out->push_back(static_cast<char>(0xF0 | c >> 18));
    out->push_back(static_cast<char>(0x80 | (c >> 12 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  }
}

}  // namespace graft
