#pragma once

// A Backend that keeps rows in maps: for tests, simulations and servers that may forget.
// Transactions run one at a time under a lock; one that fails is undone by an undo log.

#include <memory>

#include "server/store/job_listeners.h"
#include "server/store/tables.h"

namespace graft {

std::unique_ptr<Backend> MakeMemoryBackend(const StoreOptions& options,
                                           std::shared_ptr<JobListeners> listeners);

}  // namespace graft
