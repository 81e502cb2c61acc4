#pragma once

#include <vector>

#include "server/catalogue/job_logs.h"
#include "server/catalogue/publisher.h"
#include "server/store/job_store.h"

namespace graft {

// Removes what jobs that the store has forgotten left on the disk beside their blobs: directories
// and logs. What fails is logged, and left to the housekeeper.
void ForgetDeleted(const std::vector<DeletedJob>& deleted, Publisher& publisher, JobLogs& logs);

}  // namespace graft
