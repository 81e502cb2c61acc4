#pragma once

// JobStore's verbs for what workers report, as functions of one transaction. Contracts:
// job_store.h.

#include "server/store/verb_context.h"

namespace graft {

absl::StatusOr<int64_t> DoAppendEvents(VerbContext& context, const LeaseRef& lease,
                                       const EventBatch& batch);
absl::Status DoCommitCheckpoint(VerbContext& context, const LeaseRef& lease,
                                const NewCheckpoint& checkpoint);
absl::StatusOr<v1::JobState> DoFinishAttempt(VerbContext& context, const LeaseRef& lease,
                                             int64_t last_batch, const AttemptOutcome& outcome);

}  // namespace graft
