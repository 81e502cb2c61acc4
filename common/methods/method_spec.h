#pragma once

// What a spec says of methods: asked of all that there are.

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/errors/field_checks.h"
#include "common/methods/adapter_files.h"
#include "common/methods/method.h"
#include "graft/v1/adapter.pb.h"
#include "graft/v1/spec.pb.h"

namespace graft {

// Those that `method` has parts of.
std::vector<const Method*> MethodsOf(const v1::Method& method);
// The one whose field `method` has an empty part of; nullptr: there is none of that field.
const Method* MethodOfField(absl::string_view field);
// The fields of v1.Method that hold parts: "lora", "soft_prompt", …
std::vector<std::string> MethodFields();
// Is the field set? Sets it to `from`'s.
bool HasPart(const v1::Method& method, absl::string_view field);
void CopyPart(absl::string_view field, const v1::Method& from, v1::Method& method);
// Of the part; 0 when it has none.
double LearningRateOf(const Method& part, const v1::Method& method);

// The parts joined by "+" in the order of Methods(): "lora+last_layers". Empty when the method has
// none.
std::string MethodName(const v1::Method& method);

// Everything that can be said without facts.
void CheckMethod(const v1::Method& method, const FieldScope& scope);

// Fills the defaults of a method and checks it against the model. `adapter`, if any, is init_from:
// what the method leaves open is taken from it, and what it says must agree.
void ResolveMethod(const v1::TrainingSpec& training, const v1::Model& model,
                   const v1::Adapter* adapter, v1::Method& method, const FieldScope& scope);

// Number of virtual tokens that the method puts before the text; 0 without any. The spec (or an
// adapter's method) must be resolved.
int NumVirtualTokens(const v1::Method& resolved);
// Blocks of the base model that it trains, the last ones; of a resolved spec.
int NumWholeBlocks(const v1::Method& resolved, int n_layer);
// Is what it makes a model, no adapter?
bool MakesModel(const v1::Method& method);

// The plain values of a resolved spec's method; what is not set there takes each struct's own
// default.
MethodConfig ToMethodConfig(const v1::Method& method);

// An adapter as a method says it.
struct AdapterMethod {
  // The parts that it has, without what its files do not say (learning rates, how a prompt began).
  v1::Method method;
  // Why no job can begin with it (Adapter.init_from_error): what of it the method above cannot say.
  // Such an adapter is evaluated, merged and generated with like any other. Empty: a job can.
  std::string init_from_error;
};
// Whatever AdapterFolder reads has one.
AdapterMethod MethodOfAdapter(const MethodConfig& parts, const Gpt2Config& gpt2);

}  // namespace graft
