#pragma once

// The loss of each row of a job: JobService.ReadRows.

#include "absl/status/statusor.h"
#include "common/blobs/blob_store.h"
#include "graft/v1/results.pb.h"
#include "server/store/job_store.h"
#include "server/streams/wanted.h"

namespace graft {

// Reads the job's row_losses.jsonl, or train_row_losses.jsonl, whole, and predictions.jsonl for the
// rows of the page. NOT_FOUND, INVALID_ARGUMENT (page_size, page_token; adapter, where the job has
// several and it names none of them, or has not), FAILED_PRECONDITION (WRONG_STATE: the job has no
// such file, or no losses of the untuned model, and why), DATA_LOSS naming the line that is broken;
// errors of the stores; CANCELLED: nobody waits any more.
absl::StatusOr<v1::ReadRowsResponse> ReadJobRows(JobStore& store, const BlobStore& blobs,
                                                 const v1::ReadRowsRequest& request,
                                                 const Gone& gone);

}  // namespace graft
