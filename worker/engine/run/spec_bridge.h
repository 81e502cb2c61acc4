#pragma once

// From the protocol's messages to the engine's plain structs (engine_spec.h) and back. The only
// place that knows both; it includes no torch header.

#include <optional>
#include <string>
#include <vector>

#include "google/rpc/status.pb.h"
#include "graft/v1/adapter.pb.h"
#include "graft/v1/event.pb.h"
#include "graft/v1/job.pb.h"
#include "graft/v1/spec.pb.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/failure.h"
#include "worker/engine/run_hooks.h"
#include "worker/engine/session/session.h"

namespace graft {

// `resolved` as common/jobs resolves it: what is not set there takes the struct's own default.
FineTuneConfig ToConfig(const v1::FineTuneSpec& resolved);
EvaluateConfig ToConfig(const v1::EvaluateSpec& resolved);
DataConfig ToDataConfig(const v1::DataSpec& spec);
GenerationConfig ToGenerationConfig(const v1::GenerationOptions& options);
// Dropout that the spec sets; what it leaves open follows from the base model.
DropoutChoice ToDropoutChoice(const v1::TrainingSpec& resolved);

// Events without sequence, time and attempt.
v1::JobEvent ToProto(const StageEvent& event);
v1::JobEvent ToProto(const StepEvent& event);
v1::JobEvent ToProto(const EvaluationEvent& event);
v1::JobEvent ToProto(const CheckpointEvent& event);
v1::JobEvent ToProto(const DivergenceEvent& event);
v1::JobEvent ToProto(int64_t step, const std::string& adapter,
                     const std::vector<SampleTextEvent>& texts);
v1::JobEvent WarningToProto(const std::string& code, const std::string& text);
v1::JobStage ToProto(Stage stage);
v1::Execution ToProto(const Execution& execution);
v1::ScoringFingerprint FingerprintOf(const EvaluationEvent& event);
v1::FailureClass ToProto(FailureClass failure_class);
v1::DivergenceAction ToProto(DivergenceAction action);
google::rpc::Status StatusToProto(const absl::Status& status);

}  // namespace graft
