#pragma once

// JobStore's verbs of users about the life of a job that is there, as functions of one
// transaction. Contracts: job_store.h.

#include "server/store/verb_context.h"

namespace graft {

absl::StatusOr<v1::Job> DoCancelJob(VerbContext& context, absl::string_view name,
                                    const RequestKey& request);
absl::StatusOr<v1::Job> DoSaveAndCancelJob(VerbContext& context, absl::string_view name,
                                           const RequestKey& request);
absl::StatusOr<v1::Job> DoPauseJob(VerbContext& context, absl::string_view name,
                                   const RequestKey& request);
absl::StatusOr<v1::Job> DoResumeJob(VerbContext& context, absl::string_view name,
                                    const RequestKey& request);
absl::StatusOr<v1::Job> DoCheckpointJob(VerbContext& context, absl::string_view name,
                                        const RequestKey& request);
absl::StatusOr<v1::Job> DoRetryJob(VerbContext& context, absl::string_view name, bool from_scratch,
                                   const RequestKey& request);
absl::StatusOr<v1::Job> DoUpdateJob(VerbContext& context, absl::string_view name,
                                    const JobUpdate& update, const RequestKey& request);

}  // namespace graft
