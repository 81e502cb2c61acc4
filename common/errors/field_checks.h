#pragma once

// Helpers of the spec's checks: a place in a request, and what may be wrong there.

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/errors/status_details.h"

namespace graft {

// A path in the request that is checked, and the violations found in all of it. Cheap to copy; the
// Violations must outlive it.
class FieldScope {
 public:
  FieldScope(Violations& violations, absl::string_view path)
      : violations_(violations), path_(path) {}

  FieldScope At(absl::string_view field) const { return {violations_, Path(field)}; }
  std::string Path(absl::string_view field) const {
    return path_.empty() ? std::string(field) : absl::StrCat(path_, ".", field);
  }
  void Add(absl::string_view field, absl::string_view description) const {
    violations_.Add(Path(field), description);
  }
  // About the scope's own message.
  void AddHere(absl::string_view description) const { violations_.Add(path_, description); }
  void Require(bool condition, absl::string_view field, absl::string_view description) const {
    if (!condition) Add(field, description);
  }

  // lowest <= value <= greatest.
  template <typename T>
  void Between(absl::string_view field, T value, T lowest, T greatest) const {
    if (value >= lowest && value <= greatest) return;
    Add(field, absl::StrCat("is ", value, "; must be ", lowest, " to ", greatest));
  }
  // lowest <= value.
  template <typename T>
  void AtLeast(absl::string_view field, T value, T lowest) const {
    if (value < lowest) Add(field, absl::StrCat("is ", value, "; must be ", lowest, " or greater"));
  }
  // Finite numbers only: a NaN fails every check below.
  void Positive(absl::string_view field, double value) const;
  void NotNegative(absl::string_view field, double value) const;
  // 0 <= value < 1.
  void Share(absl::string_view field, double value) const;
  void AtMostBytes(absl::string_view field, absl::string_view text, int limit) const;
  void Name(absl::string_view field, absl::string_view name) const;
  // The violations of a status, whose paths are whole.
  void Take(const absl::Status& status) const { violations_.AddAll(status); }

 private:
  Violations& violations_;
  std::string path_;
};

}  // namespace graft
