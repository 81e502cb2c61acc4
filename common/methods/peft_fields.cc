#include "common/methods/peft_fields.h"

#include <array>
#include <charconv>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/formats/json_util.h"
#include "common/methods/adapter_files.h"
#include "common/methods/method.h"

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

bool ParseNumber(absl::string_view text, int& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 0;
}

// Fields whose value changes nothing about what an existing adapter computes.
constexpr const char* kIgnored[] = {"auto_mapping",  "base_model_name_or_path", "corda_config",
                                    "eva_config",    "fan_in_fan_out",          "inference_mode",
                                    "loftq_config",  "lora_ga_config",          "megatron_core",
                                    "peft_version",  "qalora_group_size",       "revision",
                                    "runtime_config"};
// A field that is in use, but that the version does not have.
absl::Status UnknownToVersion(const Method& method, absl::string_view field,
                              absl::string_view version) {
  std::string since;
  for (const Release& release : kReleases) {
    if (!method.DefaultConfig(release.version).contains(std::string(field))) continue;
    since = absl::StrCat("; ", release.version, " does");
    break;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is in use, which PEFT ", version, " does not know", since));
}

}  // namespace

json PeftDefaults(std::span<const PeftField> all, absl::string_view fields) {
  const int minor = MinorOf(fields);
  json object = json::object();
  for (const PeftField& field : all) {
    if (field.since_minor <= minor) object[field.name] = field.value;
  }
  if (object.contains("peft_version")) object["peft_version"] = std::string(fields);
  return object;
}

bool IsBeforePeft(absl::string_view fields, int minor) { return MinorOf(fields) < minor; }

absl::Status UnsupportedPeftField(absl::string_view field, const json& value) {
  const std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return absl::UnimplementedError(
      absl::StrCat(Shortened(field, 64), " ", Shortened(text, 100), " is not supported"));
}

absl::Status CheckNothingElseIsSet(const json& config, std::span<const char* const> read) {
  for (const auto& [name, value] : config.items()) {
    if (absl::c_linear_search(read, name) || absl::c_linear_search(kIgnored, name)) continue;
    if (!IsUnsetPeftField(value)) return UnsupportedPeftField(name, value);
  }
  const auto task = config.find("task_type");
  if (task != config.end() && !task->is_null() && *task != "CAUSAL_LM") {
    return UnsupportedPeftField("task_type", *task);
  }
  return absl::OkStatus();
}

json TextOrNull(const std::string& text) { return text.empty() ? json() : json(text); }

absl::StatusOr<const Method*> MethodOfPeftConfig(const json& config) {
  const auto type = config.find("peft_type");
  if (type == config.end()) return absl::InvalidArgumentError("peft_type: is missing");
  const Method* found = nullptr;
  std::vector<std::string> types;
  for (const Method* method : Methods()) {
    if (method->peft_type() == nullptr) continue;
    if (!absl::c_linear_search(types, method->peft_type())) types.push_back(method->peft_type());
    if (*type == method->peft_type() && method->Reads(config)) found = method;
  }
  if (found != nullptr) return found;
  const std::string last = types.back();
  types.pop_back();
  return absl::UnimplementedError(absl::StrCat(UnsupportedPeftField("peft_type", *type).message(),
                                               "; ", absl::StrJoin(types, ", "), " and ", last,
                                               " are"));
}

absl::Status CheckPeftConfig(absl::string_view text) {
  ASSIGN_OR_RETURN(const json object, ParseJsonObject(text));
  ASSIGN_OR_RETURN(const Method* const method, MethodOfPeftConfig(object));
  return method->CheckConfig(object, text);
}

absl::StatusOr<std::string> PeftFileText(const json& config, absl::string_view version) {
  ASSIGN_OR_RETURN(const std::string fields, PeftFieldSet(version));
  ASSIGN_OR_RETURN(const Method* const method, MethodOfPeftConfig(config));
  const json known = method->DefaultConfig(fields);
  for (const auto& [name, value] : config.items()) {
    if (!known.contains(name)) return UnknownToVersion(*method, name, fields);
  }
  return PythonJson(config);
}

absl::StatusOr<std::string> ConvertPeftConfigJson(absl::string_view text,
                                                  absl::string_view peft_version) {
  ASSIGN_OR_RETURN(const std::string version, PeftFieldSet(peft_version));
  ASSIGN_OR_RETURN(const json object, ParseJsonObject(text));
  ASSIGN_OR_RETURN(const Method* const method, MethodOfPeftConfig(object));
  RETURN_IF_ERROR(method->CheckConfig(object, text));
  if (version == "0.10.0" && object.value("target_modules", json()) == kDummyTarget) {
    return absl::InvalidArgumentError(absl::StrCat(
        "target_modules is \"", kDummyTarget, "\", which PEFT before 0.14 takes for a mistake"));
  }
  ASSIGN_OR_RETURN(const std::string newest_version, PeftFieldSet("0.21"));
  const json newest = method->DefaultConfig(newest_version);
  json converted = method->DefaultConfig(version);
  for (const auto& [name, value] : object.items()) {
    if (name == "peft_version") continue;
    const bool is_default =
        IsUnsetPeftField(value) || (newest.contains(name) && newest[name] == value);
    if (!converted.contains(name)) {
      if (!is_default && !absl::c_linear_search(kIgnored, name))
        return UnknownToVersion(*method, name, version);
      continue;
    }
    // "Not set" is written in each version's own way.
    if (!(IsUnsetPeftField(value) && IsUnsetPeftField(converted[name]))) converted[name] = value;
  }
  return PythonJson(converted);
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
