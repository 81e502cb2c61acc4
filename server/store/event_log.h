#pragma once

// What becomes of the events that a worker reports: some are appended as they are, some change the
// job or its attempt, and numbers that the log already has are compared and dropped.

#include "server/store/verb_context.h"

namespace graft {

// INVALID_ARGUMENT: too many, too large, or of a kind that only the store writes.
absl::Status CheckBatch(const EventBatch& batch);

// Appends `event` to the job's log, if it is new. Changes row.job's metrics and the attempt (not
// yet saved).
absl::Status LogEvent(VerbContext& context, JobRow& row, AttemptRow& attempt, v1::JobEvent event);

}  // namespace graft
