#pragma once

// Studies from flags: a flag of a job that is given several values is a dimension of the space.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/job_flags.h"
#include "graft/v1/study.pb.h"

namespace graft {

// The study of the jobs that JobsFromFlags makes of the same: its template, and a grid over what
// they differ in. Where --method has several values, each with the values of its own parts' flags
// is a choice of the whole method. INVALID_ARGUMENT as JobsFromFlags.
absl::StatusOr<v1::Study> StudyFromFlags(const std::vector<JobFlag>& flags,
                                         const JobFlagValues& values, const v1::Job& base);

// Adds "learning-rate=1e-5..1e-3", or with the number of a grid's points, "…1e-3:5". The name is
// that of a flag, or the path of a field. INVALID_ARGUMENT names what `option` should have been.
absl::Status AddRange(const std::vector<JobFlag>& flags, absl::string_view option,
                      absl::string_view text, bool logarithmic, v1::Study& study);

// What whoever wrote the command calls a field of CreateStudyRequest: "--rank" of
// study.spec_template.fine_tune.method.lora.rank, and of study.space["…"] of the same.
std::string NameOfStudyField(const std::vector<JobFlag>& flags, const JobFlagValues& values,
                             absl::string_view field);

}  // namespace graft
