#pragma once

#include <string>

#include "graft/v1/study.pb.h"

namespace graft {

// Whether nothing follows the state any more.
bool IsFinal(v1::StudyState state);
bool IsFinal(v1::TrialState state);

// "FAILED".
std::string StudyStateName(v1::StudyState state);
std::string TrialStateName(v1::TrialState state);

}  // namespace graft
