#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/catalogue/adapter_download.h"
#include "server/catalogue/catalogue.h"

namespace graft {

// What a job had trained by a checkpoint ("jobs/{id}/checkpoints/{step}"), as PEFT's files or, of a
// `full` job, as a model's folder: the tensors of the checkpoint's own step in F32, as the job
// would publish them. Made a piece at a time as it is sent, from the stored checkpoint. NOT_FOUND
// (job, checkpoint, base model); FAILED_PRECONDITION: an evaluation's.
absl::StatusOr<FileSource> OpenCheckpointDownload(const Catalogue& catalogue,
                                                  const std::string& name);

}  // namespace graft
