#pragma once

// How a plan is told to people.

#include <functional>
#include <string>

#include "graft/v1/plan.pb.h"

namespace graft {

// What a field of the spec (PlanWarning.field) is called by whoever wrote the command.
using FieldName = std::function<std::string(const std::string& field)>;

// All of a plan, on lines of 80 columns; what it warns of comes last.
std::string PlanText(const v1::JobPlan& plan, const FieldName& name);

// Warnings that PlanLines shows at the most.
inline constexpr int kMaxPlanLineWarnings = 3;
// The same in at most 6 lines, each with "graft: " before it, for who submits the job.
std::string PlanLines(const v1::JobPlan& plan, const FieldName& name);

// The rows of a histogram's buckets as bars, a column each; a blank for none. ASCII where the
// locale has nothing else.
std::string HistogramBars(const v1::TokenCounts& counts);

}  // namespace graft
