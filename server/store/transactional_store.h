#pragma once

// JobStore over any Backend: each method runs one verb in one transaction and tells listeners
// afterwards.

#include <memory>

#include "server/store/job_listeners.h"
#include "server/store/tables.h"
#include "server/store/volatile_times.h"

namespace graft {

// Takes the options with defaults filled in (FillDefaults). `backend` must tell `listeners` of
// every commit: WaitForRoom before it, Enqueue in the order of commits. Reads what the store is;
// codes of Backend::Read.
absl::StatusOr<std::unique_ptr<JobStore>> MakeTransactionalStore(
    StoreOptions options, std::shared_ptr<JobListeners> listeners,
    std::unique_ptr<Backend> backend);

StoreOptions FillDefaults(StoreOptions options);

}  // namespace graft
