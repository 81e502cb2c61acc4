#include "common/methods/peft_lora.h"

#include <cmath>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/formats/json_util.h"
#include "common/methods/peft_fields.h"

namespace graft {
namespace {

using nlohmann::json;

constexpr int64_t kMaxRank = int64_t{1} << 16;
constexpr int64_t kMaxLayer = 1024;
constexpr double kMaxAlpha = 1e9;

const std::vector<PeftField>& LoraFields() {
  static const auto& fields = *new std::vector<PeftField>{
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

// Fields that ParsePeftLora reads.
constexpr const char* kLoraRead[] = {"alpha_pattern",
                                     "bias",
                                     "exclude_modules",
                                     "init_lora_weights",
                                     "layers_pattern",
                                     "layers_to_transform",
                                     "lora_alpha",
                                     "lora_dropout",
                                     "modules_to_save",
                                     "peft_type",
                                     "r",
                                     "rank_pattern",
                                     "target_modules",
                                     "task_type",
                                     "use_rslora"};
// Inits that leave A and B as the whole truth; the others also change the base weights.
absl::Status CheckInit(const json& object) {
  const auto init = object.find("init_lora_weights");
  if (init == object.end() || init->is_null() || init->is_boolean()) return absl::OkStatus();
  for (const char* plain : {"gaussian", "eva", "orthogonal"}) {
    if (*init == plain) return absl::OkStatus();
  }
  return UnsupportedPeftField("init_lora_weights", *init);
}

// A field that is a list of names or one regular expression.
void NamesOrRegex(JsonFields& fields, absl::string_view name, std::vector<std::string>& names,
                  std::string& regex) {
  if (fields.Raw(name).is_string()) {
    regex = fields.String(name, "");
  } else {
    names = fields.Strings(name);
  }
}

std::vector<int64_t> Layers(JsonFields& fields) {
  constexpr char kName[] = "layers_to_transform";
  const json& value = fields.Raw(kName);
  if (!value.is_array()) {
    if (value.is_null()) return {};
    return {fields.Int(kName, 0, 0, kMaxLayer)};
  }
  std::vector<int64_t> layers;
  for (const json& item : value) {
    const json object = {{kName, item}};
    JsonFields one(object);
    layers.push_back(one.Int(kName, -1, 0, kMaxLayer));
    if (layers.back() < 0) {
      fields.Fail(kName, absl::StrCat("must be layer numbers from 0 to ", kMaxLayer));
      return {};
    }
  }
  return layers;
}

// In the order of the file, which decides between patterns that both match.
template <typename Value>
std::vector<std::pair<std::string, Value>> Patterns(JsonFields& fields, absl::string_view text,
                                                    absl::string_view name, double min,
                                                    double max) {
  std::vector<std::pair<std::string, Value>> patterns;
  if (!fields.Given(name)) return patterns;
  const auto ordered = nlohmann::ordered_json::parse(text.begin(), text.end());
  const auto& object = ordered[std::string(name)];
  for (const auto& [key, value] : object.items()) {
    const double number = value.is_number() ? value.template get<double>() : std::nan("");
    if (!object.is_object() || !(number >= min && number <= max) ||
        static_cast<double>(static_cast<Value>(number)) != number) {
      fields.Fail(name, absl::StrCat("must map names to numbers from ", min, " to ", max));
      return {};
    }
    patterns.emplace_back(key, static_cast<Value>(number));
  }
  return patterns;
}

template <typename List>
json ListOrNull(const List& list) {
  return list.empty() ? json() : json(list);
}

// A number as Python prints it: lora_alpha is an int there.
json Number(double value) {
  const bool whole = value == std::floor(value) && std::abs(value) < 1e15;
  return whole ? json(static_cast<int64_t>(value)) : json(value);
}

std::vector<std::string> Sorted(std::vector<std::string> names) {
  absl::c_sort(names);
  return names;
}

}  // namespace

json PeftLoraDefaults(absl::string_view fields) { return PeftDefaults(LoraFields(), fields); }

absl::StatusOr<PeftLoraConfig> ParsePeftLora(const json& object, absl::string_view text) {
  if (const auto bias = object.find("bias");
      bias != object.end() && !bias->is_null() && *bias != "none") {
    return UnsupportedPeftField("bias", *bias);
  }
  RETURN_IF_ERROR(CheckInit(object));
  RETURN_IF_ERROR(CheckNothingElseIsSet(object, kLoraRead));
  JsonFields fields(object);
  PeftLoraConfig config;
  config.base_model_name = fields.String("base_model_name_or_path", "");
  config.rank = fields.Int("r", 8, 1, kMaxRank);
  config.alpha = fields.Number("lora_alpha", 8, 0, kMaxAlpha);
  config.dropout = fields.Number("lora_dropout", 0, 0, 1);
  config.use_rslora = fields.Bool("use_rslora", false);
  NamesOrRegex(fields, "target_modules", config.target_modules, config.target_regex);
  NamesOrRegex(fields, "exclude_modules", config.exclude_modules, config.exclude_regex);
  if (!fields.Given("target_modules")) config.target_modules = {"c_attn"};  // PEFT's own for GPT-2
  if (absl::EqualsIgnoreCase(config.target_regex, "all-linear")) {
    config.target_regex.clear();
    config.target_modules = {"c_attn", "c_fc", "c_proj"};
  } else if (config.target_regex == kDummyTarget) {
    config.target_regex.clear();
  }
  config.layers_to_transform = Layers(fields);
  config.layers_pattern = fields.Strings("layers_pattern");
  config.rank_pattern =
      Patterns<int64_t>(fields, text, "rank_pattern", 1, static_cast<double>(kMaxRank));
  config.alpha_pattern = Patterns<double>(fields, text, "alpha_pattern", 0, kMaxAlpha);
  config.modules_to_save = fields.Strings("modules_to_save");
  if (!config.target_regex.empty() && !config.layers_to_transform.empty()) {
    fields.Fail("layers_to_transform", "cannot be used when target_modules is a text");
  }
  RETURN_IF_ERROR(fields.status());
  return config;
}

json PeftLoraObject(const PeftLoraConfig& config, absl::string_view fields) {
  json object = PeftLoraDefaults(fields);
  object["base_model_name_or_path"] = TextOrNull(config.base_model_name);
  object["r"] = config.rank;
  object["lora_alpha"] = Number(config.alpha);
  object["lora_dropout"] = config.dropout;
  object["use_rslora"] = config.use_rslora;
  // PEFT holds these names as a set and writes them in any order; sorted, our bytes are always the
  // same.
  object["target_modules"] =
      config.target_regex.empty() ? json(Sorted(config.target_modules)) : json(config.target_regex);
  if (config.target_regex.empty() && config.target_modules.empty()) {
    object["target_modules"] = kDummyTarget;
  }
  if (!config.exclude_regex.empty() || !config.exclude_modules.empty()) {
    object["exclude_modules"] = config.exclude_regex.empty() ? json(Sorted(config.exclude_modules))
                                                             : json(config.exclude_regex);
  }
  object["layers_to_transform"] = ListOrNull(config.layers_to_transform);
  object["layers_pattern"] = ListOrNull(config.layers_pattern);
  for (const auto& [key, value] : config.rank_pattern) object["rank_pattern"][key] = value;
  for (const auto& [key, value] : config.alpha_pattern)
    object["alpha_pattern"][key] = Number(value);
  object["modules_to_save"] = ListOrNull(config.modules_to_save);
  return object;
}

absl::StatusOr<PeftLoraConfig> ParsePeftLora(absl::string_view text) {
  ASSIGN_OR_RETURN(const json object, ParseJsonObject(text));
  return ParsePeftLora(object, text);
}

absl::StatusOr<std::string> PeftConfigJson(const PeftLoraConfig& config,
                                           absl::string_view peft_version) {
  ASSIGN_OR_RETURN(const std::string fields, PeftFieldSet(peft_version));
  return PeftFileText(PeftLoraObject(config, fields), peft_version);
}

}  // namespace graft
