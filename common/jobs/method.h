#pragma once

// What a method is called.

#include <string>

#include "graft/v1/spec.pb.h"

namespace graft {

// The parts joined by "+" in the order lora, soft_prompt, last_layers, full: "lora+last_layers".
// Empty when the method has none.
std::string MethodName(const v1::Method& method);
// Of a job: its method; "evaluate" for evaluate jobs.
std::string MethodName(const v1::JobSpec& spec);

}  // namespace graft
