#pragma once

#include "absl/status/statusor.h"
#include "common/blobs/file_blob_store.h"
#include "graft/admin/v1/admin.pb.h"
#include "server/operations/operation_progress.h"
#include "server/store/job_store.h"

namespace graft {

// So many of the problems are told; all are counted.
inline constexpr int kMostProblemsTold = 1000;

// Counts the blobs, and finds what is wrong with the store's file and with the blobs that the store
// names: missing, of another length, and (request.read) of other bytes than their name says. Says
// nothing of whose they are (artifacts_owner.h). CANCELLED: `progress` said so.
absl::StatusOr<admin::v1::CheckReport> CheckStore(JobStore& store, const FileBlobStore& blobs,
                                                  const admin::v1::CheckRequest& request,
                                                  const OperationProgress& progress);

}  // namespace graft
