#pragma once

// JobStore's verbs about jobs and their events, as functions of one transaction. Contracts:
// job_store.h.

#include "server/store/verb_context.h"

namespace graft {

absl::Status DoCheckJob(VerbContext& context, const NewJob& new_job);
absl::StatusOr<v1::Job> DoInsertJob(VerbContext& context, const NewJob& new_job);
absl::StatusOr<v1::Job> DoFindInserted(VerbContext& context, const RequestKey& request);
absl::StatusOr<JobWithNeeds> DoGetJob(VerbContext& context, absl::string_view name);
absl::StatusOr<Page<v1::Job>> DoListJobs(VerbContext& context, const JobQuery& query);
absl::Status DoForgetEnd(VerbContext& context, absl::string_view name);
absl::StatusOr<std::vector<v1::Artifact>> DoListArtifacts(VerbContext& context,
                                                          absl::string_view job);
absl::StatusOr<std::vector<v1::JobEvent>> DoReadEvents(VerbContext& context, absl::string_view job,
                                                       int64_t after, int limit);

}  // namespace graft
