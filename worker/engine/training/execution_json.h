#pragma once

#include <nlohmann/json_fwd.hpp>

#include "worker/engine/run_hooks.h"

namespace graft {

// An execution as checkpoints hold it.
nlohmann::json ExecutionToJson(const Execution& execution);
// What earlier builds did not write is empty or 0. Throws what nlohmann::json throws.
Execution ExecutionFromJson(const nlohmann::json& json);

}  // namespace graft
