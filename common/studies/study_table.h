#pragma once

#include <string>

#include "graft/v1/study.pb.h"

namespace graft {

// Of a whole study: its trials as CSV (CsvLine), those of the best point first, under a header.
//
//   place, trial, point  of the point among all (from 1; empty: it has no number); numbers
//   PARAMETER...         as JSON, by the names of ShortParameters
//   seed, state, steps   steps: that it was told to do
//   METRIC               the objective at its end, else at the last rung that it came to; or empty
//   mean, low, high      of the point's trials, with the 95 % interval (empty with fewer than two)
//   indistinguishable    whether the point can't be told from the best (the same)
//
// It follows from what the study came to: no name of a job and no time is in it.
std::string StudyTable(const v1::Study& study);

}  // namespace graft
