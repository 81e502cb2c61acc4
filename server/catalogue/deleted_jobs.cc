#include "server/catalogue/deleted_jobs.h"

#include <string>

#include "common/jobs/names.h"
#include "common/telemetry/log.h"

namespace graft {

void ForgetDeleted(const std::vector<DeletedJob>& deleted, Publisher& publisher, JobLogs& logs) {
  for (const DeletedJob& each : deleted) {
    LogJob(LogLevel::kInfo, each.job, "deleted", {{"with_adapter", each.adapter}});
    const std::string id = each.job.substr(sizeof(kJobPrefix) - 1);
    publisher.Hide(id);
    if (const absl::Status gone = logs.Delete(id); !gone.ok()) {
      LogJob(LogLevel::kWarning, each.job, "its logs are not deleted",
             {{"error", gone.ToString()}});
    }
    if (!each.adapter.empty()) publisher.Hide(each.adapter);
  }
}

}  // namespace graft
