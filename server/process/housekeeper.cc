#include "server/process/housekeeper.h"

#include <pthread.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/jobs/names.h"
#include "common/telemetry/log.h"

namespace graft {

absl::StatusOr<int64_t> CollectGarbage(JobStore& store, FileBlobStore& blobs, absl::Duration age) {
  std::vector<std::string> old;
  RETURN_IF_ERROR(blobs.ForEach([&](const BlobInfo& blob) {
    if (blobs.IsOlder(blob.sha256, age)) old.push_back(blob.sha256);
    return true;
  }));
  int64_t deleted = 0;
  for (const std::string& sha256 : old) {
    ASSIGN_OR_RETURN(const bool referenced, store.IsBlobReferenced(sha256));
    if (referenced) continue;
    ASSIGN_OR_RETURN(const bool gone, blobs.DeleteIfOlder(sha256, age));
    if (gone) ++deleted;
  }
  return deleted;
}

absl::StatusOr<int64_t> DeleteReleased(JobStore& store, FileBlobStore& blobs, absl::Duration age) {
  ASSIGN_OR_RETURN(const std::vector<std::string> released, store.ReleasedBlobs());
  std::vector<std::string> seen_to;
  int64_t deleted = 0;
  for (const std::string& sha256 : released) {
    ASSIGN_OR_RETURN(const bool referenced, store.IsBlobReferenced(sha256));
    if (!referenced) {
      ASSIGN_OR_RETURN(const bool gone, blobs.DeleteIfOlder(sha256, age));
      if (gone) ++deleted;
      if (!gone && blobs.Stat(sha256).ok()) continue;
    }
    seen_to.push_back(sha256);
  }
  if (!seen_to.empty()) RETURN_IF_ERROR(store.ForgetReleasedBlobs(seen_to));
  return deleted;
}

absl::StatusOr<int64_t> DeleteOrphanedLogs(JobStore& store, JobLogs& logs) {
  ASSIGN_OR_RETURN(const std::vector<std::string> ids, logs.JobIds());
  int64_t deleted = 0;
  for (const std::string& id : ids) {
    const absl::Status known = store.GetJob(JobName(id)).status();
    if (known.ok()) continue;
    if (!absl::IsNotFound(known)) return known;
    RETURN_IF_ERROR(logs.Delete(id));
    ++deleted;
  }
  return deleted;
}

Housekeeper::Housekeeper(const HousekeeperOptions& options, JobStore& store, FileBlobStore& blobs,
                         Publisher& publisher, JobLogs& logs)
    : options_(options),
      store_(store),
      blobs_(blobs),
      publisher_(publisher),
      logs_(logs),
      thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "housekeeper");
}

Housekeeper::~Housekeeper() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  stop_.NotifyAll();
  thread_.join();
}

bool Housekeeper::stopping() {
  MutexLock lock(mutex_);
  const absl::Duration next = options_.clock->Boottime() + options_.interval;
  while (!stopping_ && options_.clock->WaitUntil(stop_, mutex_, next)) {
  }
  return stopping_;
}

void Housekeeper::Report(absl::string_view what, const absl::StatusOr<int64_t>& deleted) {
  if (!deleted.ok()) {
    Log(LogLevel::kWarning, "housekeeping",
        {{"what", std::string(what)}, {"error", deleted.status().ToString()}});
  } else if (*deleted > 0) {
    Log(LogLevel::kInfo, absl::StrCat("deleted ", what), {{"count", absl::StrCat(*deleted)}});
  }
}

void Housekeeper::SaveRunningTime() {
  const absl::Status saved = store_.SaveRunningTime();
  if (saved.ok()) return;
  Log(LogLevel::kWarning, "cannot save the running time", {{"error", saved.ToString()}});
}

void Housekeeper::Run() {
  publisher_.Refresh();
  absl::Duration next_search = options_.clock->Boottime() + options_.grace;
  do {
    SaveRunningTime();
    Report("blobs that nothing names any more",
           DeleteReleased(store_, blobs_, options_.released_age));
    if (options_.clock->Boottime() < next_search) continue;
    next_search = options_.clock->Boottime() + options_.search_interval;
    Report("blobs that nothing ever named", CollectGarbage(store_, blobs_, options_.unnamed_age));
    Report("logs of jobs that are gone", DeleteOrphanedLogs(store_, logs_));
  } while (!stopping());
  SaveRunningTime();
}

}  // namespace graft
