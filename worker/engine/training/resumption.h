#pragma once

#include "absl/status/status.h"
#include "worker/engine/training/schedule.h"
#include "worker/engine/training/training_state.h"

namespace graft {

// May the run whose state at its very start is `fresh` go on from `loaded`? FAILED_PRECONDITION
// saying what differs when not: of another run, or, marked FailureClass kInfrastructure, of this
// one, but computed as it is not here.
absl::Status CheckContinues(const TrainingState& loaded, const TrainingState& fresh,
                            const StepPlan& plan);

}  // namespace graft
