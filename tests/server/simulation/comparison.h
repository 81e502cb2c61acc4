#pragma once

// Where the store says something else than the model; empty: nowhere.

#include <string>

#include "tests/server/simulation/model.h"

namespace graft::simulation {

// The queue in its order, who holds what, and when something ends by itself.
std::string CompareQueue(JobStore& store, const Model& model);
// The job with its attempts, checkpoints, needs and events, or the last ones of these.
enum class EventsCompared { kAll, kLast };
std::string CompareJob(JobStore& store, const Model& model, const std::string& name,
                       EventsCompared compared);
// All jobs, and that there are no others.
std::string CompareAll(JobStore& store, const Model& model);

}  // namespace graft::simulation
