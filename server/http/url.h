#pragma once

// What a request's target says: "/v1/jobs/k3f9/events?after_sequence=7".

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace graft {

struct Target {
  // Between the slashes, still encoded: an encoded slash is none, and ':' begins a verb only as it
  // stands.
  std::vector<std::string> segments;
  std::vector<std::pair<std::string, std::string>> query;  // Decoded, in order.
};

// INVALID_ARGUMENT: it does not begin with '/', or Decoded refuses a part of the query.
absl::StatusOr<Target> ParseTarget(absl::string_view target);

// "%20" is a space. INVALID_ARGUMENT: not two digits after '%', a zero byte, not UTF-8.
absl::StatusOr<std::string> Decoded(absl::string_view text);

}  // namespace graft
