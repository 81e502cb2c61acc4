#pragma once

#include <vector>

#include "graft/v1/plan.pb.h"
#include "server/planning/data_figures.h"

namespace graft {

// From so large a share of a part's targets on, cuts are worth a warning.
inline constexpr double kManyCuts = 0.01;
// A learning rate is usual up to so many times its method's default, and down to the same part.
inline constexpr double kUsualRates = 30;
// Of the letters of the targets ROUGE must count so many, or it says little.
inline constexpr double kEnoughLetters = 0.5;

// What may cost a night, in the order of how sure it is to. `plan` has its spec and its steps;
// `wished_difference` is of ROUGE-Lsum, 0: kDefaultDetectableDifference.
std::vector<v1::PlanWarning> PlanWarnings(const v1::JobPlan& plan, int64_t warmup_steps,
                                          const DataFigures& data, double wished_difference);

}  // namespace graft
