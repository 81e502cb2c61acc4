#pragma once

// What every new job goes through, whatever verb makes it.

#include <string>

#include "server/store/verb_context.h"

namespace graft {

// InsertJob's codes for a job with this spec.
absl::Status CheckInsertion(VerbContext& context, const v1::JobSpec& resolved);

// Queues the job whose own fields (those that people give it, warnings, retry_of, needs) `row`
// holds: the store's are filled in. `specs` holds spec and resolved_spec; an empty output name
// becomes the job's id. The warnings become its first events after that of `reason`. Returns the
// whole job.
absl::StatusOr<v1::Job> InsertQueued(VerbContext& context, JobRow& row, v1::Job specs,
                                     const std::string& reason);

// RESOURCE_EXHAUSTED (QUEUE_FULL).
absl::Status CheckQueue(VerbContext& context);

}  // namespace graft
// INVALID_ARGUMENT (violation of job.deadline): it has passed.
absl::Status CheckDeadline(VerbContext& context, absl::Time deadline);

