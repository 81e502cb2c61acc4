#pragma once

// The two macros that every function returning absl::Status is written with; Debian's Abseil does
// not ship them.

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

#define GRAFT_STATUS_CONCAT_INNER(a, b) a##b
#define GRAFT_STATUS_CONCAT(a, b) GRAFT_STATUS_CONCAT_INNER(a, b)

// Returns from the calling function when `expression` (an absl::Status) is not OK.
#define RETURN_IF_ERROR(expression)                                     \
  do {                                                                  \
    if (absl::Status graft_status = (expression); !graft_status.ok()) { \
      return graft_status;                                              \
    }                                                                   \
  } while (false)

// ASSIGN_OR_RETURN(auto value, Function()); evaluates an absl::StatusOr and returns its status or
// assigns its value.
#define ASSIGN_OR_RETURN(declaration, expression) \
  GRAFT_ASSIGN_OR_RETURN(GRAFT_STATUS_CONCAT(graft_status_or_, __LINE__), declaration, expression)
#define GRAFT_ASSIGN_OR_RETURN(temporary, declaration, expression) \
  auto temporary = (expression);                                   \
  if (!temporary.ok()) return std::move(temporary).status();       \
  declaration = *std::move(temporary)

namespace graft {

// Adds context in front of a message, once, at the place where it is known: "config.json: n_head is
// missing". Keeps the code and the payloads. OK stays OK.
inline absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

}  // namespace graft
