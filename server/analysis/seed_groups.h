#pragma once

// What the seed alone does to a result.

#include <vector>

#include "graft/v1/results.pb.h"
#include "server/analysis/compared_job.h"

namespace graft {

// IntervalOf two values or more; `metric` is left open.
v1::SeedGroup::Statistic StatisticOf(const std::vector<double>& values);

// The jobs that differ in training.seed alone, by groups of two or more in the order of their first
// ones: fine-tune jobs, and evaluations whose adapters' trainings do. Of jobs with the same seed
// the first counts, for the others are that one again.
std::vector<v1::SeedGroup> SeedGroups(const std::vector<Contestant>& jobs);

}  // namespace graft
