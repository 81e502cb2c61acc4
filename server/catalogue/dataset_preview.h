#pragma once

#include "absl/status/status.h"
#include "graft/v1/dataset.pb.h"
#include "server/catalogue/catalogue.h"
#include "server/streams/wanted.h"

namespace graft {

inline constexpr int kDefaultPreviewRows = 3;
inline constexpr int kMaxPreviewRows = 20;

// The first rows of a data set as they would train. INVALID_ARGUMENT: what CreateJob would refuse
// in the data spec, num_rows out of range, or a broken row (the line is named); NOT_FOUND: data set
// or model; CANCELLED: nobody waits for it any more.
absl::Status BuildPreview(const Catalogue& catalogue, const v1::PreviewDatasetRequest& request,
                          const Gone& gone, v1::PreviewDatasetResponse* response);

}  // namespace graft
