#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/jobs/job_spec.h"
#include "server/catalogue/catalogue.h"
#include "server/store/study_store.h"

namespace graft {

// A new study from what a person asks for: resolved, with its trials, each with its job's resolved
// spec. Its request is left out. INVALID_ARGUMENT, NOT_FOUND (what the template names): violations
// below `path`, those of a single trial with its number.
absl::StatusOr<NewStudy> MakeStudy(const Catalogue& catalogue, const v1::Study& asked,
                                   const SpecDefaults& defaults, absl::string_view path);

}  // namespace graft
