#pragma once

// What a worker must be able to do to take a job (JobNeeds).

#include "graft/v1/job.pb.h"
#include "server/store/job_store.h"

namespace graft {

// Of a job that begins. What AUTO becomes depends on the worker.
JobNeeds NeedsOf(const v1::JobSpec& resolved);
// Of a job of these needs that goes on from a checkpoint that was computed like this.
JobNeeds NeedsOf(const v1::Execution& execution, const JobNeeds& before);

}  // namespace graft
