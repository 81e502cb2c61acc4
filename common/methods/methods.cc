// Which methods there are, and what they do unless they say otherwise.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/algorithm/container.h"
#include "common/methods/dora.h"
#include "common/methods/full.h"
#include "common/methods/last_layers.h"
#include "common/methods/lora.h"
#include "common/methods/method.h"
#include "common/methods/peft_adapter.h"
#include "common/methods/prefix_tuning.h"
#include "common/methods/soft_prompt.h"

namespace graft {

const std::vector<const Method*>& Methods() {
  static const auto& methods = *new std::vector<const Method*>{
      new Lora(), new Dora(), new SoftPrompt(), new LastLayers(), new Full(), new PrefixTuning(),
  };
  return methods;
}

std::vector<const Method*> MethodsOf(const MethodConfig& parts) {
  std::vector<const Method*> methods;
  for (const Method* method : Methods()) {
    if (parts.Has(method->name())) methods.push_back(method);
  }
  return methods;
}

int64_t NumVirtualTokens(const MethodConfig& parts) {
  int64_t tokens = 0;
  for (const Method* part : MethodsOf(parts)) tokens += part->NumVirtualTokens(parts);
  return tokens;
}

int64_t NumWholeBlocks(const MethodConfig& parts, int64_t n_layer) {
  int64_t blocks = 0;
  for (const Method* part : MethodsOf(parts)) {
    blocks = std::max(blocks, part->NumWholeBlocks(parts, n_layer));
  }
  return blocks;
}

bool MakesModel(const MethodConfig& parts) {
  return absl::c_any_of(MethodsOf(parts), [](const Method* part) { return part->makes_model(); });
}

std::map<std::string, double> DefaultLearningRates() {
  std::map<std::string, double> rates;
  for (const Method* method : Methods()) rates[method->name()] = method->default_learning_rate();
  return rates;
}

// Of a method without an adapter of its own these are never called.

absl::Status Method::CheckConfig(const nlohmann::json& config, absl::string_view text) const {
  return absl::InternalError("no PEFT adapter");
}

nlohmann::json Method::DefaultConfig(absl::string_view fields) const {
  return nlohmann::json::object();
}

absl::Status Method::Read(const nlohmann::json& config, absl::string_view text,
                          AdapterReader& reader) const {
  return absl::InternalError("no PEFT adapter");
}

absl::StatusOr<PeftAdapter> Method::Plan(const PlanContext& context) const {
  return absl::InternalError("no PEFT adapter");
}

absl::StatusOr<std::string> Method::SpellOutForOldPeft(std::string text,
                                                       const Gpt2Config& gpt2) const {
  return text;
}

absl::Status Method::Describe(const MethodConfig& parts, const Gpt2Config& gpt2,
                              v1::Method& method) const {
  return absl::OkStatus();
}

}  // namespace graft
