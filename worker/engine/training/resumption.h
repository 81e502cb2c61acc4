#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/run_hooks.h"
#include "worker/engine/training/schedule.h"
#include "worker/engine/training/training_state.h"

namespace graft {

// May a run go on here with what it computed by `then`? FAILED_PRECONDITION, marked FailureClass
// kInfrastructure, when not. What binds is the processor with its instruction set or the GPU's
// model, and the precision; only from the processor to a GPU it may go. With allow_migration
// nothing binds.
//
// Otherwise what differs, since it may change the last bits: "libtorch 2.10.0 -> 2.11.0, threads 2
// -> 4"; empty when nothing does. What either does not know is not compared.
absl::StatusOr<std::string> CheckSameExecution(const Execution& then, const Execution& now,
                                               bool allow_migration);

// May the run whose state at its very start is `fresh` go on from `loaded`? FAILED_PRECONDITION
// saying what differs when not: of another run, or as CheckSameExecution, whose answer it is
// otherwise.
absl::StatusOr<std::string> CheckContinues(const TrainingState& loaded, const TrainingState& fresh,
                                           const StepPlan& plan, bool allow_migration);

}  // namespace graft
