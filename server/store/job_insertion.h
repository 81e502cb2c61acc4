#pragma once

// What every new job goes through, whatever verb makes it.

#include <optional>
#include <string>

#include "server/store/verb_context.h"

namespace graft {

// InsertJob's codes for a job with this spec. `output_field`: where its output's name stands.
absl::Status CheckInsertion(VerbContext& context, const v1::JobSpec& resolved,
                            absl::string_view output_field = "job.spec.fine_tune.output_name");

// A state that a new job goes on from.
struct StartingPoint {
  JobRow job;  // That made it.
  CheckpointRow checkpoint;
};
// What the spec's init_from names, if it is a checkpoint. NOT_FOUND (violation of init_from).
absl::StatusOr<std::optional<StartingPoint>> FindStart(VerbContext& context,
                                                       const v1::JobSpec& resolved);
// Before InsertQueued. Returns "goes on from step 12", for the event.
std::string BeginAt(const StartingPoint& start, JobRow& row);
// After it: the new job holds the checkpoint's files itself, whatever becomes of the other.
absl::Status GiveCheckpoint(VerbContext& context, const StartingPoint& start, const JobRow& to);

// Queues the job whose own fields (those that people give it, warnings, retry_of, needs) `row`
// holds: the store's are filled in. `specs` holds spec and resolved_spec; an empty output name
// becomes the job's id. The warnings become its first events after that of `reason`. Returns the
// whole job.
absl::StatusOr<v1::Job> InsertQueued(VerbContext& context, JobRow& row, v1::Job specs,
                                     const std::string& reason);

// INVALID_ARGUMENT (violation of `field`): it has passed.
absl::Status CheckDeadline(VerbContext& context, absl::Time deadline,
                           absl::string_view field = "job.deadline");

// RESOURCE_EXHAUSTED (QUEUE_FULL).
absl::Status CheckQueue(VerbContext& context);

}  // namespace graft
