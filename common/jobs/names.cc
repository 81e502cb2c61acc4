#include "common/jobs/names.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"

namespace graft {

namespace {

absl::StatusOr<std::string> ParseId(absl::string_view prefix, absl::string_view name,
                                    absl::string_view field) {
  const absl::string_view id = absl::StripPrefix(name, prefix);
  RETURN_IF_ERROR(ValidateName(id, field));
  return std::string(id);
}

}  // namespace

absl::StatusOr<std::string> ParseJobId(absl::string_view name, absl::string_view field) {
  return ParseId(kJobPrefix, name, field);
}

std::string JobName(absl::string_view id) { return absl::StrCat(kJobPrefix, id); }

absl::StatusOr<std::string> ParseStudyId(absl::string_view name, absl::string_view field) {
  return ParseId(kStudyPrefix, name, field);
}

std::string StudyName(absl::string_view id) { return absl::StrCat(kStudyPrefix, id); }

absl::Status ValidateName(absl::string_view name, absl::string_view field) {
  if (IsSafeFileName(name)) return absl::OkStatus();
  if (name.empty()) return FieldViolation(field, "is required");
  return FieldViolation(field, absl::StrCat("must be 1 to ", kMaxNameBytes,
                                            " of A-Z a-z 0-9 . _ - and not begin with a dot"));
}

std::string NewJobId() {
  // Crockford's base 32 without what looks alike; a letter first, so that no tool takes it for a
  // number.
  static constexpr char kDigits[] = "abcdefghjkmnpqrstvwxyz0123456789";
  unsigned char random[12];
  // Cannot fail for so few bytes.
  if (::getentropy(random, sizeof(random)) != 0) std::abort();
  std::string id(1, kDigits[random[0] % 22]);
  for (size_t i = 1; i < sizeof(random); ++i) id += kDigits[random[i] % 32];
  return id;
}

}  // namespace graft
