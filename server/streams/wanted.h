#pragma once

#include <functional>

#include "absl/status/status.h"

namespace graft {

// Whether nobody waits any more for what is being done: the caller has gone, his deadline is over,
// or the server ends. Cheap; from any thread, as long as the call lasts.
using Gone = std::function<bool()>;

// CANCELLED then. To be asked in every loop of unknown length, and right before anything is made to
// last.
inline absl::Status CheckWanted(const Gone& gone) {
  return gone() ? absl::CancelledError("the caller has gone") : absl::OkStatus();
}

}  // namespace graft
