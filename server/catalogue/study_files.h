#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "common/blobs/blob_store.h"
#include "graft/v1/job.pb.h"
#include "graft/v1/study.pb.h"

namespace graft {

// What lies beside the best adapter of a study all of whose trials have ended, as blobs: study.csv
// (StudyTable). Errors are those of the blob store.
absl::StatusOr<std::vector<v1::Artifact>> MakeStudyFiles(BlobStore& blobs, const v1::Study& study);

}  // namespace graft
