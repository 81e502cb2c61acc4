#pragma once

// Parsing of JSON that comes from outside. nlohmann::json::parse alone throws, and what walks its
// result later (dump, copy) calls itself once for each level of nesting.

#include <cstddef>
#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace graft {

inline constexpr size_t kMaxJsonDepth = 512;

// One JSON value. INVALID_ARGUMENT, with the byte where there is one: not JSON, not UTF-8, a zero
// byte, a number beyond a double, or more than kMaxJsonDepth objects and lists in one another.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text);

}  // namespace graft
