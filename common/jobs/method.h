#pragma once

// What a method is called, and which one an adapter's files tell of.

#include <string>

#include "absl/status/statusor.h"
#include "common/formats/adapter_parts.h"
#include "common/formats/gpt2_config.h"
#include "graft/v1/spec.pb.h"

namespace graft {

// The parts joined by "+" in the order lora, soft_prompt, last_layers, full: "lora+last_layers".
// Empty when the method has none.
std::string MethodName(const v1::Method& method);
// Of a job: its method; "evaluate" for evaluate jobs.
std::string MethodName(const v1::JobSpec& spec);

// The method that trains what an adapter of this base model has, without what its files do not say
// (learning rates, how a prompt began). UNIMPLEMENTED when no method does: see AsLastLayers.
absl::StatusOr<v1::Method> MethodOfAdapter(const AdapterParts& parts, const Gpt2Config& gpt2);

}  // namespace graft
