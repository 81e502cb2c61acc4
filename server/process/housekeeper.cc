#include "server/process/housekeeper.h"

#include <pthread.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/telemetry/log.h"
#include "server/catalogue/deleted_jobs.h"
#include "server/operations/blob_collection.h"

namespace graft {
namespace {

constexpr double kNearlyAll = 0.9;
// Counting blobs takes one part of the time in so many.
constexpr int kCountingParts = 50;

}  // namespace

Housekeeper::Housekeeper(const HousekeeperOptions& options, JobStore& store, FileBlobStore& blobs,
                         Publisher& publisher, JobLogs& logs, PartialUploads& partials)
    : options_(options),
      store_(store),
      blobs_(blobs),
      publisher_(publisher),
      logs_(logs),
      partials_(partials),
      stop_(*options.clock),
      thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "housekeeper");
}

Housekeeper::~Housekeeper() {
  stop_.Stop();
  thread_.join();
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

void Housekeeper::SeeToViews() {
  const absl::Duration now = options_.clock->Boottime();
  const int64_t repairs = blobs_.repairs();
  const bool again = publisher_.incomplete() && now >= next_refresh_;
  if (std::exchange(seen_repairs_, repairs) == repairs && !again) return;
  publisher_.Refresh();
  refresh_delay_ = publisher_.incomplete()
                       ? std::clamp(2 * refresh_delay_, options_.interval, options_.search_interval)
                       : absl::ZeroDuration();
  next_refresh_ = now + refresh_delay_;
}

// Some at a time, so that nobody waits for many of them.
void Housekeeper::PruneJobs() {
  int64_t count = 0;
  while (!stop_.stopped()) {
    const absl::StatusOr<std::vector<DeletedJob>> deleted = store_.PruneJobs();
    if (!deleted.ok()) return Report("jobs that ended long ago", deleted.status());
    if (deleted->empty()) break;
    ForgetDeleted(*deleted, publisher_, logs_);
    count += static_cast<int64_t>(deleted->size());
  }
  Report("jobs that ended long ago", count);
}

void Housekeeper::SeeToQuota() {
  const absl::Duration begin = options_.clock->Boottime();
  if (begin >= next_count_) {
    const absl::Status counted = blobs_.CountBytes();
    if (!counted.ok()) Report("blobs, counted", counted);
    const absl::Duration end = options_.clock->Boottime();
    next_count_ = end + kCountingParts * (end - begin);
  }
  if (!blobs_.quota()) return;
  const bool nearly = static_cast<double>(blobs_.stored_bytes()) >
                      kNearlyAll * static_cast<double>(*blobs_.quota());
  if (nearly && !quota_nearly_used_) {
    Log(LogLevel::kWarning, "the quota is nearly used up",
        {{"stored_bytes", absl::StrCat(blobs_.stored_bytes())},
         {"quota_bytes", absl::StrCat(*blobs_.quota())}});
  }
  quota_nearly_used_ = nearly;
}

void Housekeeper::Run() {
  const absl::Duration grace_end = options_.clock->Boottime() + options_.grace;
  absl::Duration next_search = grace_end;
  do {
    SaveRunningTime();
    SeeToViews();
    Report("blobs that nothing names any more",
           DeleteReleased(store_, blobs_, options_.ages.released));
    SeeToQuota();
    Report("uploads that broke and were not gone on with", partials_.Trim());
    if (options_.clock->Boottime() >= grace_end) PruneJobs();
    if (options_.clock->Boottime() < next_search) continue;
    next_search = options_.clock->Boottime() + options_.search_interval;
    Report("blobs that nothing ever named", CollectGarbage(store_, blobs_, options_.ages.unnamed));
    Report("logs of jobs that are gone", DeleteOrphanedLogs(store_, logs_));
  } while (!stop_.WaitFor(options_.interval));
  SaveRunningTime();
}

}  // namespace graft
