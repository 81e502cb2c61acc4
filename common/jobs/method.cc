#include "common/jobs/method.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/formats/peft_modules.h"

namespace graft {

std::string MethodName(const v1::Method& method) {
  std::vector<const char*> parts;
  if (method.has_lora()) parts.push_back("lora");
  if (method.has_soft_prompt()) parts.push_back("soft_prompt");
  if (method.has_last_layers()) parts.push_back("last_layers");
  if (method.has_full()) parts.push_back("full");
  return absl::StrJoin(parts, "+");
}

std::string MethodName(const v1::JobSpec& spec) {
  return spec.has_evaluate() ? "evaluate" : MethodName(spec.fine_tune().method());
}

AdapterMethod MethodOfAdapter(const AdapterParts& parts,
                              const std::vector<LoraModule>& lora_modules, const Gpt2Config& gpt2) {
  AdapterMethod result;
  const auto note = [&](const absl::Status& beyond, absl::string_view rule) {
    if (beyond.ok()) return;
    absl::StrAppend(&result.init_from_error, result.init_from_error.empty() ? "" : "; ",
                    beyond.message(), ", but ", rule);
  };
  if (parts.lora) {
    v1::Lora& lora = *result.method.mutable_lora();
    lora.set_rank(static_cast<int32_t>(parts.lora->rank));
    lora.set_alpha(parts.lora->alpha);
    lora.set_dropout(parts.lora->dropout);
    lora.set_use_rslora(parts.lora->use_rslora);
    for (const std::string& module : parts.lora->target_modules) lora.add_target_modules(module);
    for (const int64_t layer : parts.lora->layers) lora.add_layers(static_cast<int32_t>(layer));
    note(AsLoraShape(lora_modules).status(),
         "a method has one rank, one alpha, and the same target_modules in all of its layers");
  }
  if (parts.num_virtual_tokens > 0) {
    result.method.mutable_soft_prompt()->set_num_virtual_tokens(
        static_cast<int32_t>(parts.num_virtual_tokens));
  }
  if (!parts.saved_modules.empty()) {
    const absl::StatusOr<LastLayersShape> shape = AsLastLayers(parts.saved_modules, gpt2);
    note(shape.status(),
         "last_layers trains the last blocks as a whole, the final norm and the head");
    const LastLayersShape named = shape.value_or(LastLayersShape());
    v1::LastLayers& last = *result.method.mutable_last_layers();
    last.set_num_layers(static_cast<int32_t>(named.num_layers));
    last.set_include_final_norm(named.final_norm);
    last.set_include_lm_head(named.lm_head);
  }
  return result;
}

}  // namespace graft
