#pragma once

#include "absl/status/status.h"
#include "graft/v1/dataset.pb.h"
#include "server/rpc/service_context.h"

namespace graft {

// The first rows of a data set as they would train. INVALID_ARGUMENT: what CreateJob would refuse
// in the data spec, num_rows out of range, or a broken row (the line is named); NOT_FOUND: data set
// or model.
absl::Status BuildPreview(ServiceContext& context, const v1::PreviewDatasetRequest& request,
                          v1::PreviewDatasetResponse* response);

}  // namespace graft
