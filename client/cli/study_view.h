#pragma once

// How studies look. No input or output of its own.

#include <string>

#include "graft/v1/study.pb.h"

namespace graft {

// "running".
std::string StudyStateText(v1::StudyState state);
std::string TrialStateText(v1::TrialState state);

struct StudyLook {
  size_t room = 80;          // Columns of a line.
  size_t max_trials = 1000;  // Rows; of more, those that rank first.
  bool utf8 = true;          // Curves may be drawn.
};

// A line about the study as a whole: state, trials by state, steps, the best so far.
std::string StudyLine(const v1::Study& study);
// Its trials, those of the point that ranks first on top.
std::string TrialTable(const v1::Study& study, const StudyLook& look);
// The same of one that is not there yet: what its trials would be told.
std::string PlanTable(const v1::Study& study, const StudyLook& look);
// Its points by rank, with intervals where there are repeats, and which of them cannot be told from
// the best. Empty: none has a number yet.
std::string RankingTable(const v1::Study& study, const StudyLook& look);
// An event in a line, with its end: "rung 20: points 3, 1 go on to 40 steps; 2, 4 are stopped (…)".
std::string StudyEventLine(const v1::StudyEvent& event);

}  // namespace graft
