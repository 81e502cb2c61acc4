#include "server/store/page_token.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/limits.h"
#include "common/base/sha256.h"
#include "common/errors/status_details.h"

namespace graft {
namespace {

std::string QueryHash(absl::string_view query) { return Sha256Hex(query).substr(0, 16); }

}  // namespace

std::string MakePageToken(absl::string_view query, const std::vector<std::string>& position) {
  return absl::WebSafeBase64Escape(
      absl::StrCat(QueryHash(query), "\n", absl::StrJoin(position, "\n")));
}

absl::StatusOr<std::vector<std::string>> ReadPageToken(absl::string_view query,
                                                       absl::string_view token, size_t size) {
  const absl::Status foreign =
      FieldViolation("page_token", "is not of this list, filter and order; begin without one");
  std::string text;
  if (token.size() > kMaxPageTokenBytes || !absl::WebSafeBase64Unescape(token, &text)) {
    return foreign;
  }
  std::vector<std::string> parts = absl::StrSplit(text, '\n');
  if (parts.size() != size + 1 || parts[0] != QueryHash(query)) return foreign;
  parts.erase(parts.begin());
  return parts;
}

absl::StatusOr<int> EffectivePageSize(int page_size) {
  if (page_size < 0) return FieldViolation("page_size", "must be 0 (the default) or greater");
  return page_size == 0 ? kDefaultPageSize : std::min(page_size, kMaxPageSize);
}

bool PageBounds::Add(size_t item_bytes) {
  const bool fits = bytes_ + item_bytes <= static_cast<size_t>(kMaxPageBytes);
  if (items_ == page_size_ || (items_ > 0 && !fits)) return false;
  ++items_;
  bytes_ += item_bytes;
  return true;
}

}  // namespace graft
