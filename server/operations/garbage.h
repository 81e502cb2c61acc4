#pragma once

// What a collection would delete, and one at once. The housekeeper collects by itself
// (blob_collection.h); one beside another harms neither.

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/blobs/file_blob_store.h"
#include "graft/admin/v1/admin.pb.h"
#include "server/catalogue/job_logs.h"
#include "server/store/job_store.h"

namespace graft {

// A blob that no row names is deleted once that has been so for longer, in running time: before,
// somebody may be about to name it. One that was never named belongs to an upload that may take
// long.
struct CollectionAges {
  absl::Duration released = absl::Minutes(5);
  absl::Duration unnamed = absl::Hours(24);
};

// Says what a collection would delete now and what not yet; changes nothing.
absl::StatusOr<admin::v1::CollectGarbageReport> LookForGarbage(JobStore& store,
                                                               const FileBlobStore& blobs,
                                                               const JobLogs& logs,
                                                               const CollectionAges& ages);

// Collects, and says what was deleted and what is left. Codes of blob_collection.h.
absl::StatusOr<admin::v1::CollectGarbageReport> CollectNow(JobStore& store, FileBlobStore& blobs,
                                                           JobLogs& logs,
                                                           const CollectionAges& ages);

}  // namespace graft
