#pragma once

// StudyStore's verbs, as functions of one transaction. Contracts: study_store.h.

#include "server/store/study_store.h"
#include "server/store/verb_context.h"

namespace graft {

absl::Status DoCheckStudy(VerbContext& context, const NewStudy& new_study);
absl::StatusOr<v1::Study> DoInsertStudy(VerbContext& context, const NewStudy& new_study);
absl::StatusOr<v1::Study> DoFindInsertedStudy(VerbContext& context, const RequestKey& request);
absl::StatusOr<v1::Study> DoGetStudy(VerbContext& context, absl::string_view name);
absl::StatusOr<Page<v1::Study>> DoListStudies(VerbContext& context, int page_size,
                                              absl::string_view page_token);
absl::StatusOr<std::vector<std::string>> DoOpenStudies(VerbContext& context);
// JobStore::Counts.
absl::StatusOr<StoreCounts> DoCount(VerbContext& context);
absl::StatusOr<std::vector<v1::StudyEvent>> DoReadStudyEvents(VerbContext& context,
                                                              absl::string_view study,
                                                              int64_t after, int limit);
absl::StatusOr<StudyAdvance> DoAdvanceStudy(VerbContext& context, absl::string_view name);
absl::StatusOr<StudyAdvance> DoFinishStudy(VerbContext& context, absl::string_view name,
                                           const std::vector<v1::Artifact>& files);
absl::StatusOr<v1::Study> DoPauseStudy(VerbContext& context, absl::string_view name,
                                       const RequestKey& request);
absl::StatusOr<v1::Study> DoResumeStudy(VerbContext& context, absl::string_view name,
                                        const RequestKey& request);
absl::StatusOr<v1::Study> DoCancelStudy(VerbContext& context, absl::string_view name,
                                        const RequestKey& request);
absl::Status DoDeleteStudy(VerbContext& context, absl::string_view name);

}  // namespace graft
