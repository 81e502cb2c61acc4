#pragma once

#include "absl/status/status.h"
#include "common/base/signals.h"
#include "server/process/server_flags.h"

namespace graft {

// graft-server, from its flags to its end. Blocks until a signal: SIGTERM drains and leaves local
// workers running (with --stop-workers it ends them, too), SIGINT (Ctrl-C) stops these first.
// SIGHUP opens --log-file anew, and those of local workers; without one it is as SIGTERM.
// FAILED_PRECONDITION: another server has the data or the store; UNAVAILABLE: a port is in use;
// INVALID_ARGUMENT: a flag.
absl::Status RunServer(ServerFlags flags, const ProgramSignals& signals);

// `graft-server stop`: ends the server that uses flags.data, and with stop_all its local workers.
// NOT_FOUND: there is none.
absl::Status StopServer(const ServerFlags& flags);

}  // namespace graft
