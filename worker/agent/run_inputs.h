#pragma once

#include "absl/status/statusor.h"
#include "common/base/stop_signal.h"
#include "graft/engine/v1/engine.pb.h"
#include "graft/worker/v1/worker.pb.h"
#include "worker/agent/input_cache.h"

namespace graft {

// What an engine is told of the lease's job, with all of its inputs but a checkpoint laid out on
// this machine. Directories and the memory budget are the caller's. Codes of InputCache.
absl::StatusOr<engine::v1::Run> LayOutInputs(const worker::v1::Lease& lease, InputCache& inputs,
                                             StopSignal& stop);

}  // namespace graft
