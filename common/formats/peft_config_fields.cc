#include "common/formats/peft_config_fields.h"

#include <array>
#include <charconv>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/utf8.h"
#include "common/formats/peft_config.h"

namespace graft {
namespace {

using nlohmann::json;

// The releases in which a field came or changed.
struct Release {
  int minor;  // of 0.minor.patch
  const char* version;
};
constexpr std::array<Release, 8> kReleases = {{{10, "0.10.0"},
                                               {14, "0.14.0"},
                                               {15, "0.15.2"},
                                               {17, "0.17.1"},
                                               {18, "0.18.1"},
                                               {19, "0.19.1"},
                                               {20, "0.20.0"},
                                               {21, "0.21.2"}}};

int MinorOf(absl::string_view version) {
  for (const Release& release : kReleases) {
    if (version == release.version) return release.minor;
  }
  return kReleases.back().minor;
}

struct Field {
  int since_minor;
  const char* name;
  json value;
};

const std::vector<Field>& LoraFields() {
  static const auto& fields = *new std::vector<Field>{
      {10, "alpha_pattern", json::object()},
      {10, "auto_mapping", nullptr},
      {10, "base_model_name_or_path", nullptr},
      {10, "bias", "none"},
      {10, "fan_in_fan_out", true},  // GPT-2's Conv1D; PEFT sets it so itself
      {10, "inference_mode", true},
      {10, "init_lora_weights", true},
      {10, "layer_replication", nullptr},
      {10, "layers_pattern", nullptr},
      {10, "layers_to_transform", nullptr},
      {10, "loftq_config", json::object()},
      {10, "lora_alpha", 8},
      {10, "lora_dropout", 0.0},
      {10, "megatron_config", nullptr},
      {10, "megatron_core", "megatron.core"},
      {10, "modules_to_save", nullptr},
      {10, "peft_type", "LORA"},
      {10, "r", 8},
      {10, "rank_pattern", json::object()},
      {10, "revision", nullptr},
      {10, "target_modules", nullptr},
      {10, "task_type", "CAUSAL_LM"},
      {10, "use_dora", false},
      {10, "use_rslora", false},
      {14, "eva_config", nullptr},
      {14, "exclude_modules", nullptr},
      {14, "lora_bias", false},
      {15, "corda_config", nullptr},
      {15, "trainable_token_indices", nullptr},
      {17, "qalora_group_size", 16},
      {17, "target_parameters", nullptr},
      {17, "use_qalora", false},
      {18, "alora_invocation_tokens", nullptr},
      {18, "arrow_config", nullptr},
      {18, "ensure_weight_tying", false},
      {18, "peft_version", nullptr},
      {19, "lora_ga_config", nullptr},
      {19, "use_bdlora", nullptr},
      {20, "monteclora_config", nullptr},
      {20, "velora_config", nullptr},
      {21, "kasa_config", nullptr},
  };
  return fields;
}

const std::vector<Field>& PromptFields() {
  static const auto& fields = *new std::vector<Field>{
      {10, "auto_mapping", nullptr},
      {10, "base_model_name_or_path", nullptr},
      {10, "inference_mode", true},
      {10, "num_attention_heads", nullptr},
      {10, "num_layers", nullptr},
      {10, "num_transformer_submodules", 1},
      {10, "num_virtual_tokens", nullptr},
      {10, "peft_type", "PROMPT_TUNING"},
      {10, "prompt_tuning_init", "RANDOM"},
      {10, "prompt_tuning_init_text", nullptr},
      {10, "revision", nullptr},
      {10, "task_type", "CAUSAL_LM"},
      {10, "token_dim", nullptr},
      {10, "tokenizer_kwargs", nullptr},
      {10, "tokenizer_name_or_path", nullptr},
      {17, "modules_to_save", nullptr},
      {18, "peft_version", nullptr},
  };
  return fields;
}

bool ParseNumber(absl::string_view text, int& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 0;
}

}  // namespace

json PeftDefaults(absl::string_view peft_type, absl::string_view version) {
  const int minor = MinorOf(version);
  json object = json::object();
  for (const Field& field : peft_type == "LORA" ? LoraFields() : PromptFields()) {
    if (field.since_minor <= minor) object[field.name] = field.value;
  }
  if (object.contains("peft_version")) object["peft_version"] = std::string(version);
  return object;
}

std::string FirstPeftWith(absl::string_view peft_type, absl::string_view field) {
  for (const Release& release : kReleases) {
    if (PeftDefaults(peft_type, release.version).contains(std::string(field))) {
      return release.version;
    }
  }
  return "";
}

bool IsUnsetPeftField(const json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) ||
         ((value.is_structured() || value.is_string()) &&
          (value.is_string() ? value.get_ref<const std::string&>().empty() : value.empty()));
}

absl::StatusOr<std::string> PeftFieldSet(absl::string_view version) {
  const std::vector<std::string> parts = absl::StrSplit(version, '.');
  int major = 0;
  int minor = 0;
  int patch = 0;
  const bool valid = (parts.size() == 2 || parts.size() == 3) && ParseNumber(parts[0], major) &&
                     ParseNumber(parts[1], minor) &&
                     (parts.size() == 2 || ParseNumber(parts[2], patch));
  if (!valid || major != 0 || minor < kReleases.front().minor || minor > kReleases.back().minor) {
    return absl::InvalidArgumentError(
        absl::StrCat("peft_version '", Shortened(version, 32), "': 0.10 to 0.21 are known"));
  }
  const char* best = kReleases.front().version;
  for (const Release& release : kReleases) {
    if (release.minor <= minor) best = release.version;
  }
  return std::string(best);
}

}  // namespace graft
