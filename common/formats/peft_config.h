#pragma once

// adapter_config.json of Hugging Face PEFT, for LORA and PROMPT_TUNING on GPT-2. Written byte for
// byte as PEFT's own save_pretrained does, with the fields of a chosen PEFT version; read whoever
// wrote it, and refused by name where graft does not compute what a field says.

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/formats/gpt2_config.h"

namespace graft {

// The last version whose files do not carry a version number, so that their bytes stay as they are.
// It is read by every PEFT from 0.14 on; "0.10.0" by every one.
inline constexpr char kDefaultPeftVersion[] = "0.17.1";

// The PEFT release whose set of fields serves `version` ("0.17", "0.17.3"): the newest known one
// that is not newer in its first two numbers. INVALID_ARGUMENT for what is no version, is below
// 0.10 or above the newest that is known.
absl::StatusOr<std::string> PeftFieldSet(absl::string_view version);

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

struct PeftPromptConfig {
  std::string base_model_name;
  int64_t num_virtual_tokens = 20;  // 0 with modules_to_save: a way to save modules only
  int64_t n_embd = 768;             // token_dim; 0 when a file does not say
  int64_t n_layer = 12;
  int64_t n_head = 12;
  std::vector<std::string> modules_to_save;
};

using PeftConfig = std::variant<PeftLoraConfig, PeftPromptConfig>;

// UNIMPLEMENTED naming the field and value: another peft_type or task_type, bias, DoRA, lora_bias,
// QALoRA, layer_replication, trainable_token_indices, target_parameters, inits that change the base
// weights (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA), and any field that is set and not known here.
// INVALID_ARGUMENT naming the field: wrong type or range, no JSON.
absl::StatusOr<PeftConfig> ParsePeftConfig(absl::string_view json);

// The file's bytes. INVALID_ARGUMENT: `peft_version` as PeftFieldSet; modules_to_save of a prompt
// before 0.17, which that PEFT does not have.
absl::StatusOr<std::string> PeftConfigJson(const PeftConfig& config,
                                           absl::string_view peft_version = kDefaultPeftVersion);

// The same adapter's file for another version: drops fields that version does not know, adds those
// it has. INVALID_ARGUMENT when a field that it does not know is in use (the release that does is
// named), for "dummy-target-modules" before 0.14, and as PeftConfigJson.
absl::StatusOr<std::string> ConvertPeftConfigJson(absl::string_view json,
                                                  absl::string_view peft_version);

}  // namespace graft
