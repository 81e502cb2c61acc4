#include "common/text/unicode.h"

#include <cstring>
#include <map>
#include <vector>

#include "common/text/unicode_tables.h"

namespace graft {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";  // U+FFFD

void Mark(const CodePointRange* ranges, size_t count, CharClass char_class, std::string* class_of) {
  for (size_t i = 0; i < count; ++i) {
    for (char32_t c = ranges[i].first; c <= ranges[i].last; ++c) {
      (*class_of)[c] = static_cast<char>(char_class);
    }
  }
}

// Length of the character that `first` begins, and the bounds of its second byte (Unicode, table
// 3-7). Length 0: none.
struct Utf8Form {
  size_t size;
  unsigned char second_low;
  unsigned char second_high;
};

Utf8Form FormOf(unsigned char first) {
  if (first < 0x80) return {1, 0, 0};
  if (first < 0xC2) return {0, 0, 0};
  if (first < 0xE0) return {2, 0x80, 0xBF};
  if (first == 0xE0) return {3, 0xA0, 0xBF};
  if (first == 0xED) return {3, 0x80, 0x9F};
  if (first < 0xF0) return {3, 0x80, 0xBF};
  if (first == 0xF0) return {4, 0x90, 0xBF};
  if (first < 0xF4) return {4, 0x80, 0xBF};
  if (first == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// Number of ASCII bytes at the beginning, counted eight at a time.
size_t AsciiPrefix(const char* begin, const char* end) {
  const char* p = begin;
  while (end - p >= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    if (word & 0x8080808080808080ULL) break;
    p += 8;
  }
  while (p < end && static_cast<signed char>(*p) >= 0) ++p;
  return p - begin;
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

Utf8Prefix ReadUtf8Prefix(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const Utf8Form form = FormOf(byte(0));
  if (form.size == 0) return {Utf8Prefix::kInvalid, 1};
  for (size_t i = 1; i < form.size; ++i) {
    if (i == text.size()) return {Utf8Prefix::kIncomplete, i};
    const bool ok = i == 1 ? byte(i) >= form.second_low && byte(i) <= form.second_high
                           : (byte(i) & 0xC0) == 0x80;
    if (!ok) return {Utf8Prefix::kInvalid, i};
  }
  return {Utf8Prefix::kCharacter, form.size};
}

size_t FindInvalidUtf8(absl::string_view text) {
  size_t offset = 0;
  while (true) {
    offset += AsciiPrefix(text.data() + offset, text.data() + text.size());
    if (offset == text.size()) return absl::string_view::npos;
    const Utf8Prefix prefix = ReadUtf8Prefix(text.substr(offset));
    if (prefix.kind != Utf8Prefix::kCharacter) return offset;
    offset += prefix.size;
  }
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

std::string ToValidUtf8(absl::string_view bytes) {
  std::string valid;
  valid.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Prefix prefix = ReadUtf8Prefix(bytes);
    if (prefix.kind == Utf8Prefix::kCharacter) {
      valid.append(bytes.data(), prefix.size);
    } else {
      valid += kReplacement;
    }
    bytes.remove_prefix(prefix.size);
  }
  return valid;
}

}  // namespace graft
