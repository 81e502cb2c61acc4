#include "common/formats/json_util.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace graft {
namespace {

// A value in a message: short, whatever it is.
std::string Shown(const nlohmann::json& value) {
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  return Shortened(value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace), 64);
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view text) {
  ASSIGN_OR_RETURN(nlohmann::json value, ParseJson(text));
  if (!value.is_object()) return absl::InvalidArgumentError("not a JSON object");
  return value;
}

std::string PythonJson(const nlohmann::json& value) { return value.dump(2, ' ', true); }

bool JsonFields::Given(absl::string_view name) const { return !Raw(name).is_null(); }

const nlohmann::json& JsonFields::Raw(absl::string_view name) const {
  static const nlohmann::json null;
  const auto found = object_.find(std::string(name));
  return found == object_.end() ? null : *found;
}

void JsonFields::Fail(absl::string_view name, absl::string_view problem) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(name, ": ", problem));
}

int64_t JsonFields::Int(absl::string_view name, int64_t fallback, int64_t min, int64_t max) {
  if (!Given(name)) return fallback;
  const nlohmann::json& value = Raw(name);
  const double number = value.is_number() ? value.get<double>() : std::nan("");
  // Compared as doubles first: a float or an unsigned number beyond int64 must not be converted.
  if (!(number >= static_cast<double>(min) && number <= static_cast<double>(max)) ||
      number != std::floor(number)) {
    Fail(name,
         absl::StrCat("must be a whole number from ", min, " to ", max, ", not ", Shown(value)));
    return fallback;
  }
  return value.is_number_float() ? static_cast<int64_t>(number) : value.get<int64_t>();
}

double JsonFields::Number(absl::string_view name, double fallback, double min, double max) {
  if (!Given(name)) return fallback;
  const nlohmann::json& value = Raw(name);
  const double number = value.is_number() ? value.get<double>() : std::nan("");
  if (!(number >= min && number <= max)) {
    Fail(name, absl::StrCat("must be a number from ", min, " to ", max, ", not ", Shown(value)));
    return fallback;
  }
  return number;
}

bool JsonFields::Bool(absl::string_view name, bool fallback) {
  if (!Given(name)) return fallback;
  const nlohmann::json& value = Raw(name);
  if (!value.is_boolean()) {
    Fail(name, absl::StrCat("must be true or false, not ", Shown(value)));
    return fallback;
  }
  return value.get<bool>();
}

std::string JsonFields::String(absl::string_view name, absl::string_view fallback) {
  if (!Given(name)) return std::string(fallback);
  const nlohmann::json& value = Raw(name);
  if (!value.is_string()) {
    Fail(name, absl::StrCat("must be a text, not ", Shown(value)));
    return std::string(fallback);
  }
  return value.get<std::string>();
}

std::vector<std::string> JsonFields::Strings(absl::string_view name) {
  std::vector<std::string> texts;
  const nlohmann::json& value = Raw(name);
  if (value.is_null()) return texts;
  if (value.is_string()) return {value.get<std::string>()};
  for (const nlohmann::json& item : value.is_array() ? value : nlohmann::json::array({0})) {
    if (!item.is_string()) {
      Fail(name, absl::StrCat("must be a list of texts, not ", Shown(value)));
      return {};
    }
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

}  // namespace graft
