#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "common/blobs/blob_store.h"
#include "common/formats/manifest.h"
#include "graft/v1/job.pb.h"
#include "server/store/job_store.h"
#include "server/streams/wanted.h"

namespace graft {

// The files that are made from the log of a fine-tune job, as blobs: metrics.jsonl,
// trainer_state.json, events.out.tfevents.*. Empty for other jobs. `best_step` is that of the
// published adapter; 0: not known. The log is read in pages, twice, and no more than a page of it
// is in memory, since a job may have millions of steps. Errors are those of the two stores;
// CANCELLED: nobody waits for them any more.
absl::StatusOr<std::vector<ManifestFile>> MakeEventFiles(JobStore& store, BlobStore& blobs,
                                                         const v1::Job& job, int64_t best_step,
                                                         const Gone& gone);

}  // namespace graft
