#pragma once

// What a method is called, and which one an adapter's files tell of.

#include <string>
#include <vector>

#include "common/formats/adapter_parts.h"
#include "common/formats/gpt2_config.h"
#include "graft/v1/spec.pb.h"

namespace graft {

// The parts joined by "+" in the order lora, soft_prompt, last_layers, full: "lora+last_layers".
// Empty when the method has none.
std::string MethodName(const v1::Method& method);
// Of a job: its method; "evaluate" for evaluate jobs.
std::string MethodName(const v1::JobSpec& spec);

// An adapter as a method says it.
struct AdapterMethod {
  // The parts that it has, without what its files do not say (learning rates, how a prompt began).
  v1::Method method;
  // Why no job can begin with it (Adapter.init_from_error): what of it the method above cannot say.
  // Such an adapter is evaluated, merged and generated with like any other. Empty: a job can.
  std::string init_from_error;
};
// Whatever AdapterFolder reads has one.
AdapterMethod MethodOfAdapter(const AdapterParts& parts,
                              const std::vector<LoraModule>& lora_modules, const Gpt2Config& gpt2);

}  // namespace graft
