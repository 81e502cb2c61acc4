#pragma once

// Which fields PEFT's configuration classes have in which release (private to peft_config*.cc).
// Measured on the releases themselves.

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace graft {

// The object with all fields of that release at their defaults, inference_mode true as in every
// saved file. `version` is one that PeftFieldSet returned; `peft_type` LORA or PROMPT_TUNING.
nlohmann::json PeftDefaults(absl::string_view peft_type, absl::string_view version);

// The first release that has the field; "" when none has.
std::string FirstPeftWith(absl::string_view peft_type, absl::string_view field);

// Null, false, an empty text, list or object: a field that asks for nothing.
bool IsUnsetPeftField(const nlohmann::json& value);

}  // namespace graft
