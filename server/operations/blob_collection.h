#pragma once

// Deletes what the store does not know. Ages count in the store's running time from when something
// was first seen without a name; whoever touches a blob meanwhile (FileBlobStore::Keep) makes it
// new.

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/blobs/file_blob_store.h"
#include "server/catalogue/job_logs.h"
#include "server/store/job_store.h"

namespace graft {

// Looks through all blobs and deletes those that have had no name for longer than `age`. Returns
// how many. A file that cannot be looked at or deleted keeps no other from its turn, and is what is
// returned in the end; an error of the store ends it.
absl::StatusOr<int64_t> CollectGarbage(JobStore& store, FileBlobStore& blobs, absl::Duration age);
// The same for those that lost a name since they were last seen to (JobStore::ReleasedBlobs); what
// is younger waits for the next time.
absl::StatusOr<int64_t> DeleteReleased(JobStore& store, FileBlobStore& blobs, absl::Duration age);
// Deletes the logs of jobs that the store does not know: a worker may have sent them while the job
// was deleted. Returns of how many.
absl::StatusOr<int64_t> DeleteOrphanedLogs(JobStore& store, JobLogs& logs);

}  // namespace graft
