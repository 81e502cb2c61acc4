#pragma once

// Which point of a study is the best, and how sure that is.

#include <vector>

#include "graft/v1/study.pb.h"

namespace graft {

// The points of a resolved study that have a value, the best first: those whose trials came to
// their ends before those that did not, of these those that came further; then by their mean.
// Differences to the best are by pairs of trials of one seed, at the last step that both have.
std::vector<v1::RankedPoint> Rank(const v1::Study& study);

// The trial of the point that ranks first, of those that published something, with the best value;
// null: there is none.
const v1::Trial* BestTrial(const v1::Study& study);

// All trials, those of the best point first; those of points that have no rank last, by number.
std::vector<const v1::Trial*> TrialsByRank(const v1::Study& study);

}  // namespace graft
