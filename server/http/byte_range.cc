#include "server/http/byte_range.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace graft {
namespace {

bool ParseOffset(absl::string_view text, int64_t* offset) {
  return !text.empty() && absl::ascii_isdigit(text[0]) && absl::SimpleAtoi(text, offset);
}

}  // namespace

std::optional<ByteRange> ParseByteRange(absl::string_view header) {
  if (!absl::ConsumePrefix(&header, "bytes=")) return std::nullopt;
  const std::pair<absl::string_view, absl::string_view> ends =
      absl::StrSplit(header, absl::MaxSplits('-', 1));
  if (header.find('-') == absl::string_view::npos) return std::nullopt;
  ByteRange range;
  if (!ParseOffset(ends.first, &range.first)) return std::nullopt;
  if (ends.second.empty()) return range;
  int64_t last = 0;
  if (!ParseOffset(ends.second, &last) || last < range.first) return std::nullopt;
  range.last = last;
  return range;
}

}  // namespace graft
