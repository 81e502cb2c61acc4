#pragma once

// Small helpers over nlohmann::json for configuration files that come from outside: errors as
// Status, each naming its field.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace graft {

// INVALID_ARGUMENT: as ParseJson of common/base/json.h, or not an object.
absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view text);

// As Python's json.dumps(value, indent=2, sort_keys=True): ASCII only, no newline at the end.
std::string PythonJson(const nlohmann::json& value);

// Reads the fields of one object. A field that is absent or null counts as not given. The first
// error stays and every later read returns its default; ask status() at the end. The object must
// outlive it.
class JsonFields {
 public:
  explicit JsonFields(const nlohmann::json& object) : object_(object) {}

  bool Given(absl::string_view name) const;
  // INVALID_ARGUMENT outside [min, max] or when it is no whole number. 4.0 is a whole number.
  int64_t Int(absl::string_view name, int64_t fallback, int64_t min, int64_t max);
  double Number(absl::string_view name, double fallback, double min, double max);
  bool Bool(absl::string_view name, bool fallback);
  std::string String(absl::string_view name, absl::string_view fallback);
  // A list of texts, or a single text as a list of one.
  std::vector<std::string> Strings(absl::string_view name);
  const nlohmann::json& Raw(absl::string_view name) const;  // null when it is not given

  // Records an error about a field: "<name>: <problem>".
  void Fail(absl::string_view name, absl::string_view problem);
  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json& object_;
  absl::Status status_;
};

}  // namespace graft
