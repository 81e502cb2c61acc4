#pragma once

// What CompareJobs answers, as people read it. No input or output of its own.

#include <string>

#include "client/cli/output.h"
#include "graft/v1/results.pb.h"

namespace graft {

// Table of all jobs: method, trained parameters, loss, ROUGE-1/2/L/Lsum with the 95 % interval of
// Lsum, training seconds, adapter size; rows for lead-3 and the oracle where an evaluation scored
// them.
Table ComparisonTable(const v1::CompareJobsResponse& comparison);
// Loss and ROUGE of jobs that differ in their seed alone: mean, standard deviation, 95 % interval.
Table SeedTable(const v1::CompareJobsResponse& comparison);

// A line for each difference, and for each job that was validated otherwise:
//   lora - untuned: rougeLsum +0.512, 95 % interval +0.498 to +0.527 (120 rows; 9 would do)
//   lora - soft_prompt: not comparable, validated on other rows: …
std::string DifferencesText(const v1::CompareJobsResponse& comparison);

// A row for each job, with all that is known of it and of its difference to another; numbers as
// they are. As RFC 4180 has it, with a header.
std::string ComparisonCsv(const v1::CompareJobsResponse& comparison);

// An object a line: the jobs, each with its `difference` and `validation`, and with `seeds` at the
// first job of those that differ in their seed alone.
std::string ComparisonJson(const v1::CompareJobsResponse& comparison);

}  // namespace graft
