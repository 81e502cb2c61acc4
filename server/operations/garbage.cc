#include "server/operations/garbage.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/base/status_macros.h"
#include "common/jobs/names.h"
#include "server/operations/blob_collection.h"

namespace graft {
namespace {

absl::StatusOr<int64_t> CountOrphanedLogs(JobStore& store, const JobLogs& logs) {
  ASSIGN_OR_RETURN(const std::vector<std::string> ids, logs.JobIds());
  int64_t orphaned = 0;
  for (const std::string& id : ids) {
    const absl::Status known = store.GetJob(JobName(id)).status();
    if (absl::IsNotFound(known)) {
      ++orphaned;
    } else {
      RETURN_IF_ERROR(known);
    }
  }
  return orphaned;
}

// How long each blob still has, that nothing names. One that was touched since it was noted, or was
// never noted, has all of its time.
class TimeLeft {
 public:
  static absl::StatusOr<TimeLeft> Read(JobStore& store, const CollectionAges& ages) {
    TimeLeft left(ages);
    ASSIGN_OR_RETURN(const std::vector<UnnamedBlob> noted, store.UnnamedBlobs());
    for (const UnnamedBlob& blob : noted) left.noted_[blob.sha256] = blob;
    ASSIGN_OR_RETURN(const std::vector<std::string> released, store.ReleasedBlobs());
    left.released_ = {released.begin(), released.end()};
    return left;
  }

  // Negative: it goes with the next collection.
  absl::Duration Of(const FileBlobStore& blobs, const std::string& sha256) const {
    const bool released = released_.count(sha256) > 0;
    const absl::Duration age = released ? ages_.released : ages_.unnamed;
    const auto noted = noted_.find(sha256);
    const bool untouched =
        noted != noted_.end() && blobs.StampOf(sha256).value_or(0) == noted->second.stamp;
    return untouched ? age - noted->second.age : age;
  }

 private:
  explicit TimeLeft(const CollectionAges& ages) : ages_(ages) {}

  CollectionAges ages_;
  std::map<std::string, UnnamedBlob> noted_;
  std::set<std::string> released_;
};

}  // namespace

absl::StatusOr<admin::v1::CollectGarbageReport> LookForGarbage(JobStore& store,
                                                               const FileBlobStore& blobs,
                                                               const JobLogs& logs,
                                                               const CollectionAges& ages) {
  std::vector<BlobInfo> there;
  RETURN_IF_ERROR(blobs.ForEach([&](const BlobInfo& blob) {
    there.push_back(blob);
    return true;
  }));
  ASSIGN_OR_RETURN(const TimeLeft time_left, TimeLeft::Read(store, ages));
  ASSIGN_OR_RETURN(const std::vector<NamedBlob> named, store.NamedBlobs());
  std::set<std::string> names;
  for (const NamedBlob& blob : named) names.insert(blob.sha256);
  admin::v1::CollectGarbageReport report;
  absl::Duration first_due = absl::InfiniteDuration();
  for (const BlobInfo& blob : there) {
    if (names.count(blob.sha256) > 0) {
      report.set_named_blobs(report.named_blobs() + 1);
      report.set_named_bytes(report.named_bytes() + blob.size_bytes);
      continue;
    }
    const absl::Duration left = time_left.Of(blobs, blob.sha256);
    if (left < absl::ZeroDuration()) {
      report.set_blobs(report.blobs() + 1);
      report.set_bytes(report.bytes() + blob.size_bytes);
      continue;
    }
    report.set_young_blobs(report.young_blobs() + 1);
    report.set_young_bytes(report.young_bytes() + blob.size_bytes);
    first_due = std::min(first_due, left);
  }
  if (report.young_blobs() > 0) report.set_first_due_seconds(absl::ToInt64Seconds(first_due));
  ASSIGN_OR_RETURN(const int64_t orphaned, CountOrphanedLogs(store, logs));
  report.set_logs(orphaned);
  report.set_held(blobs.deletions_held());
  return report;
}

absl::StatusOr<admin::v1::CollectGarbageReport> CollectNow(JobStore& store, FileBlobStore& blobs,
                                                           JobLogs& logs,
                                                           const CollectionAges& ages) {
  ASSIGN_OR_RETURN(const auto before, LookForGarbage(store, blobs, logs, ages));
  ASSIGN_OR_RETURN(const int64_t released, DeleteReleased(store, blobs, ages.released));
  ASSIGN_OR_RETURN(const int64_t unnamed, CollectGarbage(store, blobs, ages.unnamed));
  ASSIGN_OR_RETURN(const int64_t orphaned, DeleteOrphanedLogs(store, logs));
  ASSIGN_OR_RETURN(auto report, LookForGarbage(store, blobs, logs, ages));
  report.set_blobs(released + unnamed);
  // What another collection deleted beside this one is not counted.
  report.set_bytes(released + unnamed == before.blobs() ? before.bytes() : 0);
  report.set_logs(orphaned);
  return report;
}

}  // namespace graft
