#pragma once

// What all of PEFT's configuration classes have in common: fields that came with some release, and
// files that are written as save_pretrained writes them. Measured on the releases themselves.

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace graft {

// The last version whose files do not carry a version number, so that their bytes stay as they are.
// It is read by every PEFT from 0.14 on; "0.10.0" by every one.
inline constexpr char kDefaultPeftVersion[] = "0.17.1";

// The PEFT release whose set of fields serves `version` ("0.17", "0.17.3"): the newest known one
// that is not newer in its first two numbers. INVALID_ARGUMENT for what is no version, is below
// 0.10 or above the newest that is known.
absl::StatusOr<std::string> PeftFieldSet(absl::string_view version);
// Does that release (PeftFieldSet) come before 0.`minor`?
bool IsBeforePeft(absl::string_view fields, int minor);

// A field of a configuration class, its value in a saved file that says nothing, and the release
// 0.`since_minor` that it came with.
struct PeftField {
  int since_minor;
  const char* name;
  nlohmann::json value;
};
// The object with all fields that the release `fields` has. `peft_type` is among them.
nlohmann::json PeftDefaults(std::span<const PeftField> all, absl::string_view fields);

// Null, false, an empty text, list or object: a field that asks for nothing.
bool IsUnsetPeftField(const nlohmann::json& value);
// UNIMPLEMENTED: "field value is not supported".
absl::Status UnsupportedPeftField(absl::string_view field, const nlohmann::json& value);
// UNIMPLEMENTED for the first field that is set, is not among those that were `read`, and does
// change what an adapter computes; and for another task_type than CAUSAL_LM.
absl::Status CheckNothingElseIsSet(const nlohmann::json& config, std::span<const char* const> read);

nlohmann::json TextOrNull(const std::string& text);

// Whose adapter_config.json it is, by peft_type and, among methods that share one, by what else it
// says. INVALID_ARGUMENT, UNIMPLEMENTED as below.
class Method;
absl::StatusOr<const Method*> MethodOfPeftConfig(const nlohmann::json& config);

// What is wrong with adapter_config.json, if anything. UNIMPLEMENTED naming the field and value:
// another peft_type or task_type, whatever graft does not compute, and any field that is set and
// not known here. INVALID_ARGUMENT naming the field: wrong type or range, no JSON.
absl::Status CheckPeftConfig(absl::string_view json);

// The file's bytes of an object whose peft_type is a method's. INVALID_ARGUMENT: a field that the
// release `version` does not have (the first that does is named), and as PeftFieldSet.
absl::StatusOr<std::string> PeftFileText(const nlohmann::json& config, absl::string_view version);

// The same adapter's file for another version: drops fields that version does not know, adds those
// it has. INVALID_ARGUMENT when a field that it does not know is in use (the release that does is
// named), for "dummy-target-modules" before 0.14, and as PeftFileText. Codes of CheckPeftConfig.
absl::StatusOr<std::string> ConvertPeftConfigJson(absl::string_view json,
                                                  absl::string_view peft_version);

// PEFT's own constant: a target that matches nothing.
inline constexpr char kDummyTarget[] = "dummy-target-modules";

}  // namespace graft
