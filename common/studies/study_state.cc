#include "common/studies/study_state.h"

#include "absl/strings/strip.h"

namespace graft {

bool IsFinal(v1::StudyState state) {
  return state == v1::STUDY_STATE_SUCCEEDED || state == v1::STUDY_STATE_FAILED ||
         state == v1::STUDY_STATE_CANCELLED;
}

bool IsFinal(v1::TrialState state) {
  return state == v1::TRIAL_STATE_SUCCEEDED || state == v1::TRIAL_STATE_FAILED ||
         state == v1::TRIAL_STATE_STOPPED || state == v1::TRIAL_STATE_CANCELLED;
}

std::string StudyStateName(v1::StudyState state) {
  return std::string(absl::StripPrefix(v1::StudyState_Name(state), "STUDY_STATE_"));
}

std::string TrialStateName(v1::TrialState state) {
  return std::string(absl::StripPrefix(v1::TrialState_Name(state), "TRIAL_STATE_"));
}

}  // namespace graft
