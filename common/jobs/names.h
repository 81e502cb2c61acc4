#pragma once

// Names of resources. Jobs are "jobs/{id}", the id made by the server; data sets, models and
// adapters have names made by people.

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace graft {

inline constexpr char kJobPrefix[] = "jobs/";

// The id in "jobs/{id}" or "{id}". INVALID_ARGUMENT (violation of `field`) when it is not a name as
// ValidateName asks for.
absl::StatusOr<std::string> ParseJobId(absl::string_view name, absl::string_view field = "name");
std::string JobName(absl::string_view id);

// The same of studies: "studies/{id}".
inline constexpr char kStudyPrefix[] = "studies/";
absl::StatusOr<std::string> ParseStudyId(absl::string_view name, absl::string_view field = "name");
std::string StudyName(absl::string_view id);

// [A-Za-z0-9._-]{1,128}, no leading dot; else INVALID_ARGUMENT (violation of `field`).
absl::Status ValidateName(absl::string_view name, absl::string_view field);

// A new job id: 12 letters and digits of 60 random bits, lower case, none that look alike.
std::string NewJobId();

}  // namespace graft
