#pragma once

// JobStore's verbs of users about the life of a job that is there, as functions of one
// transaction. Contracts: job_store.h.

#include <cstdint>
#include <optional>

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

// Whether the job has come to the step at which its study has it wait.
bool IsAtRung(const v1::Job& job);
// What a study does to the job of one of its trials; nothing where it would be refused to people,
// as when it has ended by itself. ResumeTrialJob sets pause_at_step, where it is given; otherwise a
// job that waits at its rung stays. RESOURCE_EXHAUSTED (QUEUE_FULL).
absl::Status ResumeTrialJob(VerbContext& context, absl::string_view name,
                            std::optional<int64_t> pause_at_step);
absl::Status PauseTrialJob(VerbContext& context, absl::string_view name);
absl::Status CancelTrialJob(VerbContext& context, absl::string_view name);

}  // namespace graft
