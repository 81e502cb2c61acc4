#include "common/methods/last_layers.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/errors/field_checks.h"
#include "common/methods/lora.h"
#include "common/methods/peft_adapter.h"
#include "graft/v1/model.pb.h"
#include "graft/v1/spec.pb.h"

namespace graft {
namespace {

bool AllZero(const TensorView& tensor) {
  return absl::c_all_of(tensor.bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

// PEFT has no adapter that only saves modules. A LoRA of rank 1 on a layer that is not trained, all
// zeros, does nothing and loads everywhere; where every block is trained, a target that matches
// nothing does the same from 0.12 on.
absl::StatusOr<PeftLoraConfig> CarrierConfig(const PlanContext& context) {
  PeftLoraConfig config;
  config.base_model_name = context.options.base_model_name;
  config.rank = 1;
  config.alpha = 1;
  config.modules_to_save = PeftModulePaths(context.saved_modules);
  for (int64_t layer = 0; layer < context.gpt2.n_layer; ++layer) {
    if (absl::c_linear_search(context.saved_modules, absl::StrCat("h.", layer))) continue;
    config.target_modules = {absl::StrCat("transformer.h.", layer, ".attn.c_attn")};
    return config;
  }
  ASSIGN_OR_RETURN(const std::string fields, PeftFieldSet(context.options.peft_version));
  if (IsBeforePeft(fields, 14)) {
    return absl::InvalidArgumentError(
        "PEFT before 0.14 has no adapter that saves every block and has no LoRA");
  }
  return config;
}

}  // namespace

std::vector<std::string> SavedModules(const LastLayersConfig& last, int64_t n_layer) {
  if (!last.modules.empty()) return last.modules;
  std::vector<std::string> modules;
  for (int64_t layer = n_layer - last.num_layers; layer < n_layer; ++layer) {
    modules.push_back(absl::StrCat("h.", layer));
  }
  if (last.include_final_norm) modules.push_back("ln_f");
  if (last.include_lm_head) modules.push_back("lm_head");
  return modules;
}

std::vector<std::string> SavedModules(const MethodConfig& parts, int64_t n_layer) {
  const LastLayersConfig* const last = parts.Find<LastLayersConfig>();
  return last == nullptr ? std::vector<std::string>() : SavedModules(*last, n_layer);
}

LastLayersConfig LastLayersOf(std::vector<std::string> modules, const Gpt2Config& gpt2) {
  LastLayersConfig last{0, false, false, {}};
  if (const auto shape = AsLastLayers(modules, gpt2); shape.ok()) {
    last = {shape->num_layers, shape->final_norm, shape->lm_head, {}};
  }
  last.modules = std::move(modules);
  return last;
}

void TakeSavedModules(const std::vector<std::string>& modules, absl::string_view prefix,
                      AdapterReader& reader) {
  if (modules.empty()) return;
  for (const TensorShape& tensor : SavedModuleTensors(modules, reader.gpt2)) {
    reader.Take(absl::StrCat(prefix, PeftModulePath(tensor.name)), tensor);
  }
  reader.parts.Set(LastLayersOf(modules, reader.gpt2));
}

std::vector<std::string> PeftModulePaths(const std::vector<std::string>& modules) {
  std::vector<std::string> paths;
  for (const std::string& module : modules) paths.push_back(PeftModulePath(module));
  return paths;
}

void LastLayers::Check(const v1::Method& method, const FieldScope& scope) const {
  const v1::LastLayers& last = method.last_layers();
  if (last.has_num_layers()) scope.AtLeast("num_layers", last.num_layers(), 0);
  if (last.has_learning_rate()) scope.Positive("learning_rate", last.learning_rate());
  const bool norm = !last.has_include_final_norm() || last.include_final_norm();
  const bool blocks = !last.has_num_layers() || last.num_layers() > 0;
  scope.Require(blocks || norm || last.include_lm_head(), "num_layers",
                "is 0 and neither the final norm nor the head is included: nothing would train");
}

void LastLayers::Inherit(const v1::Method& from_method, v1::Method& method) const {
  const v1::LastLayers& from = from_method.last_layers();
  v1::LastLayers& last = *method.mutable_last_layers();
  if (!last.has_num_layers() && from.has_num_layers()) last.set_num_layers(from.num_layers());
  if (!last.has_include_final_norm() && from.has_include_final_norm()) {
    last.set_include_final_norm(from.include_final_norm());
  }
  if (!last.has_include_lm_head() && from.has_include_lm_head()) {
    last.set_include_lm_head(from.include_lm_head());
  }
}

void LastLayers::Resolve(const MethodContext& context, v1::Method& method,
                         const FieldScope& scope) const {
  const v1::Model& model = context.model;
  v1::LastLayers& last = *method.mutable_last_layers();
  if (!last.has_num_layers()) last.set_num_layers(std::min(2, model.n_layer()));
  if (!last.has_include_final_norm()) last.set_include_final_norm(true);
  if (!last.has_include_lm_head()) last.set_include_lm_head(false);
  scope.Between("num_layers", last.num_layers(), 0, model.n_layer());
}

void LastLayers::CheckSameShape(const v1::Method& from, const v1::Method& method,
                                const SameShape& same) const {
  if (!from.last_layers().has_num_layers()) return;
  same(from.last_layers().num_layers() == method.last_layers().num_layers(),
       "last_layers.num_layers", absl::StrCat(from.last_layers().num_layers()));
}

int64_t LastLayers::NumWholeBlocks(const MethodConfig& parts, int64_t n_layer) const {
  return std::min(parts.Find<LastLayersConfig>()->num_layers, n_layer);
}

void LastLayers::ToConfig(const v1::Method& method, MethodConfig& config) const {
  const v1::LastLayers& from = method.last_layers();
  LastLayersConfig last;
  if (from.has_num_layers()) last.num_layers = from.num_layers();
  if (from.has_include_final_norm()) last.include_final_norm = from.include_final_norm();
  if (from.has_include_lm_head()) last.include_lm_head = from.include_lm_head();
  config.Set(std::move(last));
}

// A LoRA that cannot do anything, and only makes PEFT load the saved modules, is no part.
void LastLayers::Finish(AdapterReader& reader) const {
  const LoraConfig* const lora = reader.parts.Find<LoraConfig>();
  if (lora == nullptr || lora->modules.size() != 1 || lora->modules[0].rank != 1) return;
  const std::string prefix = lora->modules[0].name + ".lora_";
  const auto b = absl::c_find_if(
      reader.tensors, [&](const TensorView& tensor) { return tensor.name == prefix + "B"; });
  if (b == reader.tensors.end() || !AllZero(*b)) return;
  std::erase_if(reader.tensors,
                [&](const TensorView& tensor) { return absl::StartsWith(tensor.name, prefix); });
  reader.parts.Remove<LoraConfig>();
}

absl::StatusOr<PeftAdapter> LastLayers::Plan(const PlanContext& context) const {
  ASSIGN_OR_RETURN(const PeftLoraConfig config, CarrierConfig(context));
  ASSIGN_OR_RETURN(const std::vector<LoraModule> modules, ResolveLoraModules(config, context.gpt2));
  PeftAdapter adapter;
  ASSIGN_OR_RETURN(adapter.config, PeftConfigJson(config, context.options.peft_version));
  adapter.Add(
      LoraTensorShapes(modules),
      [](const std::string& name) {
        return absl::StrCat("base_model.model.", PeftModulePath(name), ".weight");
      },
      /*is_carrier=*/true);
  return adapter;
}

std::vector<TensorShape> LastLayers::Tensors(const MethodConfig& parts,
                                             const Gpt2Config& gpt2) const {
  return SavedModuleTensors(SavedModules(parts, gpt2.n_layer), gpt2);
}

std::string LastLayers::Summary(const MethodConfig& parts, const Gpt2Config& gpt2) const {
  return absl::StrCat("whole modules: ", absl::StrJoin(SavedModules(parts, gpt2.n_layer), ", "));
}

absl::Status LastLayers::Describe(const MethodConfig& parts, const Gpt2Config& gpt2,
                                  v1::Method& method) const {
  const absl::StatusOr<LastLayersShape> shape =
      AsLastLayers(SavedModules(parts, gpt2.n_layer), gpt2);
  const LastLayersShape named = shape.value_or(LastLayersShape());
  v1::LastLayers& last = *method.mutable_last_layers();
  last.set_num_layers(static_cast<int32_t>(named.num_layers));
  last.set_include_final_norm(named.final_norm);
  last.set_include_lm_head(named.lm_head);
  if (shape.ok()) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(shape.status().message(),
                   ", but last_layers trains the last blocks as a whole, the final norm and the "
                   "head"));
}

}  // namespace graft
