#pragma once

// What becomes of a study: from its trials' jobs to what it decides, and back to the jobs.

#include <vector>

#include "server/store/study_store.h"
#include "server/store/verb_context.h"

namespace graft {

// A study with its trials, which `row` is without, in one transaction.
struct StudyUnderWay {
  StudyRow row;
  std::vector<v1::Trial> trials;
};

// Appends an event to the study's log; row.study.last_sequence follows (not yet saved).
absl::Status AddStudyEvent(VerbContext& context, StudyRow& row, v1::StudyEvent event);
// The state, with its event.
absl::Status SetStudyState(VerbContext& context, StudyRow& row, v1::StudyState to,
                           const std::string& reason);
// Writes the row as a new version.
absl::Status SaveStudy(VerbContext& context, StudyRow& row);

// The study as people see it: with trials and ranking.
v1::Study WholeStudy(const StudyUnderWay& study);

// AdvanceStudy of one that is read; saves it and the trials that changed.
absl::StatusOr<StudyAdvance> Advance(VerbContext& context, StudyUnderWay& study);
// FinishStudy, the same.
absl::StatusOr<StudyAdvance> Finish(VerbContext& context, StudyUnderWay& study,
                                    const std::vector<v1::Artifact>& files);

}  // namespace graft
