#include "common/base/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace graft {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";  // U+FFFD

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

std::string Shortened(absl::string_view text, size_t max_bytes) {
  size_t end = std::min(max_bytes, text.size());
  if (end == text.size()) return ToValidUtf8(text);
  // Back to where a character begins; of bytes that are none nothing more than that is taken.
  size_t begin = end;
  while (begin > 0 && end - begin < 3 && (text[begin] & 0xC0) == 0x80) --begin;
  if ((text[begin] & 0xC0) != 0x80) end = begin;
  return absl::StrCat(ToValidUtf8(text.substr(0, end)), "…");
}

}  // namespace graft
