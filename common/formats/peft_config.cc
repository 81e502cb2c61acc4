#include "common/formats/peft_config.h"

#include <cmath>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/formats/json_util.h"
#include "common/formats/peft_config_fields.h"

namespace graft {
namespace {

using nlohmann::json;

constexpr int64_t kMaxRank = int64_t{1} << 16;
constexpr int64_t kMaxVirtualTokens = int64_t{1} << 20;
constexpr int64_t kMaxLayer = 1024;
constexpr double kMaxAlpha = 1e9;
constexpr char kDummyTarget[] = "dummy-target-modules";  // PEFT's own constant: matches nothing

// Fields whose value changes nothing about what an existing adapter computes.
constexpr const char* kIgnored[] = {"auto_mapping",  "base_model_name_or_path", "corda_config",
                                    "eva_config",    "fan_in_fan_out",          "inference_mode",
                                    "loftq_config",  "lora_ga_config",          "megatron_core",
                                    "peft_version",  "qalora_group_size",       "revision",
                                    "runtime_config"};
// Fields that Parse*Config reads.
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
constexpr const char* kPromptRead[] = {
    "modules_to_save",    "num_attention_heads", "num_layers",         "num_transformer_submodules",
    "num_virtual_tokens", "peft_type",           "prompt_tuning_init", "prompt_tuning_init_text",
    "task_type",          "token_dim",           "tokenizer_kwargs",   "tokenizer_name_or_path"};

absl::Status Unsupported(absl::string_view field, const json& value) {
  const std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return absl::UnimplementedError(
      absl::StrCat(Shortened(field, 64), " ", Shortened(text, 100), " is not supported"));
}

template <typename Names>
absl::Status CheckNothingElseIsSet(const json& object, const Names& read) {
  for (const auto& [name, value] : object.items()) {
    if (absl::c_linear_search(read, name) || absl::c_linear_search(kIgnored, name)) continue;
    if (!IsUnsetPeftField(value)) return Unsupported(name, value);
  }
  const auto task = object.find("task_type");
  if (task != object.end() && !task->is_null() && *task != "CAUSAL_LM") {
    return Unsupported("task_type", *task);
  }
  return absl::OkStatus();
}

// Inits that leave A and B as the whole truth; the others also change the base weights.
absl::Status CheckInit(const json& object) {
  const auto init = object.find("init_lora_weights");
  if (init == object.end() || init->is_null() || init->is_boolean()) return absl::OkStatus();
  for (const char* plain : {"gaussian", "eva", "orthogonal"}) {
    if (*init == plain) return absl::OkStatus();
  }
  return Unsupported("init_lora_weights", *init);
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

absl::StatusOr<PeftConfig> ParseLora(const json& object, absl::string_view text) {
  if (const auto bias = object.find("bias");
      bias != object.end() && !bias->is_null() && *bias != "none") {
    return Unsupported("bias", *bias);
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

absl::StatusOr<PeftConfig> ParsePrompt(const json& object) {
  RETURN_IF_ERROR(CheckNothingElseIsSet(object, kPromptRead));
  JsonFields fields(object);
  PeftPromptConfig config;
  config.base_model_name = fields.String("base_model_name_or_path", "");
  if (!fields.Given("num_virtual_tokens")) fields.Fail("num_virtual_tokens", "is missing");
  config.num_virtual_tokens = fields.Int("num_virtual_tokens", 0, 0, kMaxVirtualTokens);
  config.n_embd = fields.Int("token_dim", 0, 0, int64_t{1} << 16);
  config.n_layer = fields.Int("num_layers", 0, 0, kMaxLayer);
  config.n_head = fields.Int("num_attention_heads", 0, 0, int64_t{1} << 16);
  config.modules_to_save = fields.Strings("modules_to_save");
  const int64_t submodules = fields.Int("num_transformer_submodules", 1, 1, 2);
  RETURN_IF_ERROR(fields.status());
  if (submodules != 1) return Unsupported("num_transformer_submodules", submodules);
  return config;
}

json TextOrNull(const std::string& text) { return text.empty() ? json() : json(text); }

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

json LoraObject(const PeftLoraConfig& config, absl::string_view version) {
  json object = PeftDefaults("LORA", version);
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

json PromptObject(const PeftPromptConfig& config, absl::string_view version) {
  json object = PeftDefaults("PROMPT_TUNING", version);
  object["base_model_name_or_path"] = TextOrNull(config.base_model_name);
  object["num_virtual_tokens"] = config.num_virtual_tokens;
  object["token_dim"] = config.n_embd;
  object["num_layers"] = config.n_layer;
  object["num_attention_heads"] = config.n_head;
  if (!config.modules_to_save.empty()) object["modules_to_save"] = config.modules_to_save;
  return object;
}

// A field that is in use, but that the version does not have.
absl::Status UnknownToVersion(absl::string_view type, absl::string_view field,
                              absl::string_view version) {
  const std::string since = FirstPeftWith(type, field);
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is in use, which PEFT ", version, " does not know",
                   since.empty() ? "" : absl::StrCat("; ", since, " does")));
}

}  // namespace

absl::StatusOr<PeftConfig> ParsePeftConfig(absl::string_view text) {
  ASSIGN_OR_RETURN(const json object, ParseJsonObject(text));
  const auto type = object.find("peft_type");
  if (type == object.end()) return absl::InvalidArgumentError("peft_type: is missing");
  if (*type == "LORA") return ParseLora(object, text);
  if (*type == "PROMPT_TUNING") return ParsePrompt(object);
  absl::Status status = Unsupported("peft_type", *type);
  return absl::UnimplementedError(absl::StrCat(status.message(), "; LORA and PROMPT_TUNING are"));
}

absl::StatusOr<std::string> PeftConfigJson(const PeftConfig& config,
                                           absl::string_view peft_version) {
  ASSIGN_OR_RETURN(const std::string version, PeftFieldSet(peft_version));
  const bool is_lora = std::holds_alternative<PeftLoraConfig>(config);
  const json object = is_lora ? LoraObject(std::get<PeftLoraConfig>(config), version)
                              : PromptObject(std::get<PeftPromptConfig>(config), version);
  const char* type = is_lora ? "LORA" : "PROMPT_TUNING";
  const json known = PeftDefaults(type, version);
  for (const auto& [name, value] : object.items()) {
    if (!known.contains(name)) return UnknownToVersion(type, name, version);
  }
  return PythonJson(object);
}

absl::StatusOr<std::string> ConvertPeftConfigJson(absl::string_view text,
                                                  absl::string_view peft_version) {
  ASSIGN_OR_RETURN(const std::string version, PeftFieldSet(peft_version));
  ASSIGN_OR_RETURN(const json object, ParseJsonObject(text));
  RETURN_IF_ERROR(ParsePeftConfig(text).status());
  const std::string type = object["peft_type"].get<std::string>();
  if (version == "0.10.0" && object.value("target_modules", json()) == kDummyTarget) {
    return absl::InvalidArgumentError(absl::StrCat(
        "target_modules is \"", kDummyTarget, "\", which PEFT before 0.14 takes for a mistake"));
  }
  ASSIGN_OR_RETURN(const std::string newest_version, PeftFieldSet("0.21"));
  const json newest = PeftDefaults(type, newest_version);
  json converted = PeftDefaults(type, version);
  for (const auto& [name, value] : object.items()) {
    if (name == "peft_version") continue;
    const bool is_default =
        IsUnsetPeftField(value) || (newest.contains(name) && newest[name] == value);
    if (!converted.contains(name)) {
      if (!is_default && !absl::c_linear_search(kIgnored, name))
        return UnknownToVersion(type, name, version);
      continue;
    }
    // "Not set" is written in each version's own way.
    if (!(IsUnsetPeftField(value) && IsUnsetPeftField(converted[name]))) converted[name] = value;
  }
  return PythonJson(converted);
}

}  // namespace graft
