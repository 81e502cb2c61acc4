#pragma once

// gRPC's deadlines, from durations, on a clock that no change of the system's date moves.

#include "absl/time/time.h"
#include "grpc/support/time.h"

namespace graft {

// For ClientContext::set_deadline, Server::Shutdown and their like.
gpr_timespec DeadlineAfter(absl::Duration timeout);

}  // namespace graft
