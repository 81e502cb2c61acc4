#pragma once

#include "absl/status/statusor.h"
#include "graft/v1/plan.pb.h"
#include "server/catalogue/catalogue.h"
#include "server/catalogue/lookup.h"
#include "server/streams/wanted.h"

namespace graft {

// What a job would do, by its spec, its data and its model: all of a JobPlan but what a worker
// measures and the queue says. `wished_difference`: PlanJobRequest's. Codes of ReadDataFigures, and
// of Publisher::DirectoryOf.
absl::StatusOr<v1::JobPlan> MakeJobPlan(const Catalogue& catalogue,
                                        const ResolvedFromStore& resolved, double wished_difference,
                                        const Gone& gone);

}  // namespace graft
