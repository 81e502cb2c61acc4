#pragma once

// Child mode: the engine of a worker. Commands come and events go over one socket
// (proto/graft/engine/v1/engine.proto):
//
//   reader thread   Cancel and Fence act on JobControl at once; Run and Generate wait in a queue
//   main thread     owns the session and every tensor; one piece of work after the other, but
//                   a text is made between two steps of a job on the same base model
//   writer thread   EventChannel
//
// End of file means the worker is gone: the process ends at once, whatever it does.

#include <string>

#include "worker/engine/session/session.h"

namespace graft {

// Speaks on descriptor `fd` until Shutdown; returns the exit code. The process may also end within
// (kExitWorkerLost).
int Serve(int fd, const SessionOptions& options);

inline constexpr int kExitWorkerLost = 5;

}  // namespace graft
