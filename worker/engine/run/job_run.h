#pragma once

// One job from its Run message to its Finished message.

#include "absl/status/statusor.h"
#include "graft/engine/v1/engine.pb.h"
#include "graft/v1/plan.pb.h"
#include "worker/engine/run/proto_sink.h"
#include "worker/engine/session/session.h"

namespace graft {

// Runs `run` (its spec must be resolved) and describes what came of it: status with failure class,
// or result and files below work_directory/output and work_directory/artifacts, graft.json or
// results.json among them. Blocks until it is over; the thread is the session's.
engine::v1::Finished RunJob(const engine::v1::Run& run, EngineSession& session,
                            ProtoEventSink& sink, StopToken& stop);

// What the job of `measure` would take, but for the worker's name. UNIMPLEMENTED: an evaluate job.
absl::StatusOr<v1::JobMeasurement> MeasureJob(const engine::v1::Measure& measure,
                                              EngineSession& session, StopToken& stop);

// A Finished that says no more than `status`.
engine::v1::Finished FailedToRun(const absl::Status& status);

}  // namespace graft
