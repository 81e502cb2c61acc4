#pragma once

// adapter_config.json of Hugging Face PEFT's LORA on GPT-2. Written byte for byte as PEFT's own
// save_pretrained does, with the fields of a chosen PEFT version; read whoever wrote it, and
// refused by name where graft does not compute what a field says.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace graft {

struct PeftLoraConfig {
  std::string base_model_name;  // base_model_name_or_path; "" is null
  int64_t rank = 8;
  double alpha = 8;
  double dropout = 0;
  bool use_rslora = false;
  // Names matched by suffix, or one regular expression for the whole module path
  // ("transformer.h.0.attn.c_attn") when target_regex is not empty.
  std::vector<std::string> target_modules;
  std::string target_regex;
  std::vector<std::string> exclude_modules;
  std::string exclude_regex;
  std::vector<int64_t> layers_to_transform;  // empty: all
  std::vector<std::string> layers_pattern;
  // Regular expressions for the end of a module path; the first that matches counts.
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  std::vector<std::string> modules_to_save;
};

// UNIMPLEMENTED naming the field and value: bias, DoRA, lora_bias, QALoRA, layer_replication,
// trainable_token_indices, target_parameters, inits that change the base weights (PiSSA, OLoRA,
// CorDA, LoftQ, LoRA-GA), and as CheckPeftConfig. `text` is the object's own, whose order counts.
absl::StatusOr<PeftLoraConfig> ParsePeftLora(const nlohmann::json& object, absl::string_view text);
absl::StatusOr<PeftLoraConfig> ParsePeftLora(absl::string_view json);

// The object of that release (PeftFieldSet), and its defaults.
nlohmann::json PeftLoraObject(const PeftLoraConfig& config, absl::string_view fields);
nlohmann::json PeftLoraDefaults(absl::string_view fields);

// The file's bytes. Codes of PeftFileText.
absl::StatusOr<std::string> PeftConfigJson(const PeftLoraConfig& config,
                                           absl::string_view peft_version);

}  // namespace graft
