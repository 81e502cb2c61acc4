#include "common/base/json.h"

#include "absl/strings/str_cat.h"

namespace graft {

absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text) {
  // The parser takes a zero byte for the end of its input and would not see what follows.
  if (const size_t zero = text.find('\0'); zero != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("not JSON: a zero byte at byte ", zero + 1));
  }
  bool too_deep = false;
  using Event = nlohmann::json::parse_event_t;
  const auto watch_depth = [&](int depth, Event event, nlohmann::json&) {
    const bool opens = event == Event::object_start || event == Event::array_start;
    too_deep |= opens && depth >= static_cast<int>(kMaxJsonDepth);
    return !too_deep;  // Nothing more is kept.
  };
  try {
    nlohmann::json value = nlohmann::json::parse(text.begin(), text.end(), watch_depth);
    if (!too_deep) return value;
    return absl::InvalidArgumentError(
        absl::StrCat("not usable JSON: nested more than ", kMaxJsonDepth, " levels deep"));
  } catch (const nlohmann::json::parse_error& error) {
    return absl::InvalidArgumentError(absl::StrCat("not valid JSON in UTF-8 at byte ", error.byte));
  } catch (const nlohmann::json::exception&) {  // out_of_range
    return absl::InvalidArgumentError("not usable JSON: a number is too large for a double");
  }
}

}  // namespace graft
