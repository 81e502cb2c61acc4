#pragma once

#include <vector>

#include "client/cli/plot.h"
#include "graft/v1/study.pb.h"

namespace graft {

// The objective against each field that the study's trials differ in, a dot a trial: those that
// came to their end, and those that were ended before, by the last step at which they were scored,
// for values of different steps are not to be compared. Numbers stand where they are, on a
// logarithmic axis where the study drew them so or they span more than a factor of 10; anything
// else in the order of the space. Empty: no trial has a value yet.
std::vector<Plot> StudyPlots(const v1::Study& study);

}  // namespace graft
