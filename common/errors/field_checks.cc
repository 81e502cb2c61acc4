#include "common/errors/field_checks.h"

#include <cmath>

#include "common/base/file.h"
#include "common/base/limits.h"

namespace graft {

void FieldScope::Positive(absl::string_view field, double value) const {
  if (std::isfinite(value) && value > 0) return;
  Add(field, absl::StrCat("is ", value, "; must be greater than 0"));
}

void FieldScope::NotNegative(absl::string_view field, double value) const {
  if (std::isfinite(value) && value >= 0) return;
  Add(field, absl::StrCat("is ", value, "; must be 0 or greater"));
}

void FieldScope::Share(absl::string_view field, double value) const {
  if (value >= 0 && value < 1) return;
  Add(field, absl::StrCat("is ", value, "; must be at least 0 and less than 1"));
}

void FieldScope::AtMostBytes(absl::string_view field, absl::string_view text, int limit) const {
  if (text.size() <= static_cast<size_t>(limit)) return;
  Add(field, absl::StrCat("has ", text.size(), " bytes; at most ", limit, " are allowed"));
}

void FieldScope::Name(absl::string_view field, absl::string_view name) const {
  if (IsSafeFileName(name)) return;
  if (name.empty()) return Add(field, "is required");
  Add(field, absl::StrCat("must be 1 to ", kMaxNameBytes,
                          " of A-Z a-z 0-9 . _ - and not begin with a dot"));
}

}  // namespace graft
