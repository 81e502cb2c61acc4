#pragma once

// What is said of jobs that are deleted (JobStore::DeleteJob, PurgeJobs).

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/jobs/job_filter.h"
#include "server/store/request_key.h"

namespace graft {

struct DeletedJob {
  std::string job;
  std::string adapter;  // Name of the adapter that was deleted with it; else empty.
};

// Which jobs are to go, of those that are done.
struct JobPurge {
  JobFilter filter;
  bool force = false;  // Else nothing is deleted.
  bool delete_adapters = false;
  RequestKey request;
};
// Told what was deleted, after each commit. An error ends the purge there.
using PurgeListener = std::function<absl::Status(const std::vector<DeletedJob>&)>;

}  // namespace graft
