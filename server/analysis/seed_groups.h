#pragma once

// What the seed alone does to a result.

#include <vector>

#include "graft/v1/results.pb.h"
#include "server/analysis/compared_job.h"

namespace graft {

// Mean of the values with its 95 % interval by Student's t distribution (W. S. Gosset, 1908): mean
// ± t(0.975, n - 1) s / sqrt(n). Of two values or more; `metric` is left open.
v1::SeedGroup::Statistic StatisticOf(const std::vector<double>& values);

// The 0.975 quantile of Student's t, to 1e-5. `freedom` is at least 1.
double StudentT975(int freedom);

// The jobs that differ in training.seed alone, by groups of two or more in the order of their first
// ones: fine-tune jobs, and evaluations whose adapters' trainings do. Of jobs with the same seed
// the first counts, for the others are that one again.
std::vector<v1::SeedGroup> SeedGroups(const std::vector<Contestant>& jobs);

}  // namespace graft
