#pragma once

// Which points of a study begin, go on, and end. A pure function of the study and of its points'
// numbers: asked again after each new one, it has decided the same before and perhaps something
// more, in whatever order they came.
//
//   Successive halving: ASHA (Li et al. 2020, "A System for Massively Parallel Hyperparameter
//   Tuning", algorithm 2), with its decisions in a fixed order: decision k of a rung looks at the
//   first k points that came to it. A point comes to a rung when it is let go on from the one
//   before, in the order of those decisions; to its bracket's first, by its number.
//   Median stopping: Golovin et al. 2017, "Google Vizier", section 3.2.2, on the values themselves.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "graft/v1/study.pb.h"

namespace graft {

// What is known of a point at a rung. Points are counted from 0 here.
struct PointResult {
  bool there = false;           // All of its trials have come there, or never will.
  std::optional<double> value;  // The mean of those that have one.
};

// results[point][rung].
using StudyResults = std::vector<std::vector<PointResult>>;

// How far a point is told to go.
struct PointCourse {
  bool begins = true;    // False: it does not fit limits.max_steps.
  int rung = 0;          // To which, of rung_steps; their number: to the end.
  bool stopped = false;  // It goes no further than that.
  std::string reason;    // Why it is stopped, or does not begin.
};

// Decision `number` of a rung, from 1; the one after its last point's ends the rung.
struct StudyDecision {
  int bracket = 0;
  int rung = 0;
  int number = 0;
  std::vector<int> looked_at;
  std::vector<int> promoted;  // The best first.
  std::vector<int> stopped;
  std::string reason;
};

struct StudyCourse {
  std::vector<PointCourse> points;
  // Those that let a point go on or end it, of each rung in order.
  std::vector<StudyDecision> decisions;
  int64_t planned_steps = 0;  // Of all trials that begin, as they are told so far.
};

// Of a resolved study (ResolveStudy). `results` has rung_steps of each point.
StudyCourse Decide(const v1::Study& study, const StudyResults& results);

// To which step: rung_steps[rung], or TotalStepsOf at the end.
int64_t StepsOfRung(const v1::Study& study, int rung);

}  // namespace graft
