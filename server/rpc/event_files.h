#pragma once

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "common/blobs/blob_store.h"
#include "common/formats/manifest.h"
#include "common/formats/metric_row.h"
#include "graft/v1/job.pb.h"
#include "server/store/job_store.h"

namespace graft {

// Calls `visit` for every event of a job in order, reading the log in pages. Stops at an error.
absl::Status ForEachEvent(JobStore& store, absl::string_view job,
                          const std::function<absl::Status(const v1::JobEvent&)>& visit);

// The metrics and evaluations of a job's log, in order.
absl::StatusOr<std::vector<MetricRow>> MetricRows(JobStore& store, absl::string_view job);

// The files that are made from the log of a fine-tune job, as blobs: metrics.jsonl,
// trainer_state.json, events.out.tfevents.*. Empty for other jobs. `best_step` is that of the
// published adapter; 0: not known.
absl::StatusOr<std::vector<ManifestFile>> MakeEventFiles(JobStore& store, BlobStore& blobs,
                                                         const v1::Job& job, int64_t best_step);

}  // namespace graft
