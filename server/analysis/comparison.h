#pragma once

// Jobs side by side: JobService.CompareJobs.

#include "absl/status/statusor.h"
#include "common/blobs/blob_store.h"
#include "graft/v1/results.pb.h"
#include "server/store/job_store.h"
#include "server/streams/wanted.h"

namespace graft {

inline constexpr size_t kMaxComparedJobs = 100;  // And adapters, of jobs that evaluated several.

// Reads the predictions of the evaluations among them, of two at a time. NOT_FOUND (job, study),
// INVALID_ARGUMENT (none, too many, no metric), errors of the stores; CANCELLED: nobody waits any
// more.
absl::StatusOr<v1::CompareJobsResponse> CompareJobs(JobStore& store, const BlobStore& blobs,
                                                    const v1::CompareJobsRequest& request,
                                                    const Gone& gone);

}  // namespace graft
