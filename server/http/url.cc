#include "server/http/url.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace graft {

absl::StatusOr<std::string> Decoded(absl::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const absl::string_view digits = text.substr(i + 1, 2);
    if (digits.size() != 2 || !absl::ascii_isxdigit(digits[0]) ||
        !absl::ascii_isxdigit(digits[1])) {
      return absl::InvalidArgumentError(absl::StrCat("the URL has \"%", Shortened(digits, 2),
                                                     "\": after % come two hexadecimal digits"));
    }
    decoded += absl::HexStringToBytes(digits);
    i += 2;
  }
  if (decoded.find('\0') != std::string::npos || FindInvalidUtf8(decoded) != std::string::npos) {
    return absl::InvalidArgumentError("the URL is not UTF-8, or has a zero byte");
  }
  return decoded;
}

absl::StatusOr<Target> ParseTarget(absl::string_view target) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(target, absl::MaxSplits('?', 1));
  absl::string_view path = parts.first;
  if (path.empty() || path[0] != '/') {
    return absl::InvalidArgumentError("the URL's path must begin with /");
  }
  Target parsed;
  parsed.segments = absl::StrSplit(path.substr(1), '/');
  for (absl::string_view pair : absl::StrSplit(parts.second, '&', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> named =
        absl::StrSplit(pair, absl::MaxSplits('=', 1));
    const auto decode = [](absl::string_view text) {
      return Decoded(absl::StrReplaceAll(text, {{"+", " "}}));
    };
    ASSIGN_OR_RETURN(std::string name, decode(named.first));
    ASSIGN_OR_RETURN(std::string value, decode(named.second));
    parsed.query.emplace_back(std::move(name), std::move(value));
  }
  return parsed;
}

}  // namespace graft
